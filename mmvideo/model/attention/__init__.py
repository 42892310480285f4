"""Span attention: one function, several backends that agree."""
