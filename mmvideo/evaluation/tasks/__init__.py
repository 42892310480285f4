"""Evaluators, one file a task."""
