"""Positions of tokens: rotary, sine and cosine, learned."""
