"""Models that the transformer is compared with: late fusion of convolutions and LSTMs.

They train on the same streams of clips with the same objectives, and give `Features` of one token
for each clip and modality; objectives that predict tokens refuse them.
"""
