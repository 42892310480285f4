"""The command line: thin, and it imports late, so that `mmvideo --help` is instant."""
