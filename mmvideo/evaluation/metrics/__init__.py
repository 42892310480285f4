"""Metrics of downstream tasks: from what was predicted and what is true to numbers, by the published protocols.

Nothing here knows a model, a corpus or a device.
"""
