"""Metrics of downstream tasks: functions from predictions and truth to numbers, by the published protocols.

Nothing here depends on a model, a corpus or a device.
"""
