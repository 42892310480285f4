"""Checkpoints: written in the background, checked by digests, kept by rules."""
