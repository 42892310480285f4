"""The transformer: embedding, stacked layers, decoder, key and value cache."""
