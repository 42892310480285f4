"""Manifests: clips as JSON lines, CSV or a folder of files, read and checked."""
