"""Retrieval between modalities: exact search, ranks, recall, re-ranking."""
