"""Trained weights: loading, exporting, and starting another run from them."""
