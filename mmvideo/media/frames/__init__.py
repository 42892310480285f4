"""Frames of video: selection, orientation, colour and size."""
