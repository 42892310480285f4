"""Media files: containers, tracks, lengths and damage."""
