"""Losses over arrays, and the targets that they compare with."""
