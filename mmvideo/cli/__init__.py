"""The commands: `mmvideo VERB …`."""
