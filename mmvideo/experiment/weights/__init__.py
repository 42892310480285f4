"""Trained weights: loaded, exported, or the start of another run."""
