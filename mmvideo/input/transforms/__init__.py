"""Transforms of clips: crops, augmentation, patches and masks."""
