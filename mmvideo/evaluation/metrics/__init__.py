"""Metrics as plain functions of plain arrays and strings; they know no model, no corpus and no file."""
