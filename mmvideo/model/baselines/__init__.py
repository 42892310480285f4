"""Baselines for the transformer: late fusion of convolutions and LSTMs.

They train on the same streams of clips with the same objectives, and return `Features` of one token for each clip and
modality. Objectives that predict tokens refuse them.
"""
