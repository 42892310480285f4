"""Small files that survive a kill and reveal damage: atomically written texts, sealed JSON, lines of JSON."""
