"""Small files that outlive a kill and tell when they are damaged: whole texts, JSON with a seal, lines of JSON."""
