"""Sounding shapes as values: attributes, frames, audio and captions of any clip, without a file."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from mmvideo.datasets.shapes import attributes as law
from mmvideo.datasets.shapes.attributes import Attributes
from mmvideo.datasets.shapes.config import ShapesConfig
from mmvideo.datasets.shapes.grammar import captions
from mmvideo.datasets.shapes.picture import render
from mmvideo.datasets.shapes.sound import synthesise


class Shapes:
    """Endless dataset of one `ShapesConfig`; every method is a pure function of the config and its arguments."""

    def __init__(self, config: ShapesConfig):
        self.config = config

    def draw(self, split: str, clips: int) -> list[Attributes]:
        """Return the attributes of the first `clips` clips of a split."""
        return law.draw(self.config, split, clips)

    def frames(self, attributes: Attributes) -> UInt8[np.ndarray, "T Y X 3"]:
        """Return the frames of a clip, `config.fps` a second."""
        return render(self.config, attributes, self._rng(attributes, 2))

    def samples(self, attributes: Attributes) -> Float[np.ndarray, "S"]:
        """Return the audio of a clip, mono in [-1, 1] at `config.sample_rate`."""
        return synthesise(self.config, attributes, self._rng(attributes, 3))

    def row(self, attributes: Attributes) -> dict[str, Any]:
        """Return the manifest's row of a clip; its attributes include the settings, which the oracle needs."""
        return {
            "id": attributes.id,
            "media": f"clips/{attributes.id}.mp4",
            "captions": captions(self.config, attributes),
            "labels": attributes.annotations,
            "attributes": attributes.as_dict() | {"settings": dataclasses.asdict(self.config)},
            "split": attributes.split,
        }

    def _rng(self, attributes: Attributes, purpose: int) -> np.random.Generator:
        key = (self.config.seed, law.split_key(attributes.split), attributes.index, purpose)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
