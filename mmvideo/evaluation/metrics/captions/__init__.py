"""Metrics of texts: captions, dense captions and answers."""
