"""Fusion of modalities: stages, rows of tokens, and the routing between them."""
