"""Diagnostics of machines and installed versions."""
