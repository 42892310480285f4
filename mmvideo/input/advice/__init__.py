"""Advice on settings of sampling, patches and packing, chosen from the properties of a corpus.

Every choice is one field with its reason. It reads the clip table; for audio, a few clips are decoded.
"""
