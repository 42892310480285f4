"""Annotations of clips: captions, moments, numeric targets, teacher embeddings."""
