"""Settings of sampling, patches and packing, chosen from what a corpus says of its clips.

Every choice is one field with its reason. It reads the clip table; of audio a few clips are decoded.
"""
