"""Examples for the report: clips, retrieved clips, reconstructions, attention."""
