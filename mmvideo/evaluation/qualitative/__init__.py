"""Examples for the report: clips, retrieved results, reconstructions, attention."""
