"""Every published model that is compared with ours, and how far both are apart."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from joint_models import cav_mae, mbt, mbt_class_tokens
from sound_models import ast, audiomae, audiomae_classification, clap, whisper
from text_models import bert, clip, siglip
from tiny_models import Pairs
from video_models import timesformer, videomae, videomae_classification, vit_mae, vivit, vivit_factorised, vjepa2

FAMILIES: dict[str, Callable[[], Pairs]] = {
    "VideoMAE, pretraining": videomae,
    "VideoMAE, classification": videomae_classification,
    "ViT-MAE": vit_mae,
    "AudioMAE, released code": audiomae,
    "AudioMAE, classification, released code": audiomae_classification,
    "AST": ast,
    "ViViT, joint": vivit,
    "ViViT, factorised, released code": vivit_factorised,
    "MBT, released code": mbt,
    "MBT with class tokens, released code": mbt_class_tokens,
    "TimeSformer, joint": timesformer,
    "CAV-MAE, released code": cav_mae,
    "SigLIP": siglip,
    "CLIP": clip,
    "V-JEPA 2": vjepa2,
    "Whisper, encoder": whisper,
    "CLAP, features": clap,
    "BERT": bert,
}
"""What is compared, by the name that the table has for it."""


def difference(ours, theirs) -> float:
    """The largest difference, relative to the largest number."""
    ours, theirs = np.asarray(jax.device_get(ours), np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, f"{ours.shape} and {theirs.shape}"
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
