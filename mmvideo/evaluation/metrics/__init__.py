"""Metrics as papers measure them: plain numpy in float64, one module a task."""
