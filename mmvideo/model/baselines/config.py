"""Settings of the baselines."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class CnnLstm:
    """Late fusion as introductions to the field build it: a CNN of pictures, a CNN of sound, an LSTM of words.

    Sizes of pictures, spectrograms, texts and vocabulary are those of the stream. The usual ones are
    224 × 224 × 3 pixels, 128 × 128 spectrograms and 100 pieces out of 10,000; they, and the numbers
    below, are `configs/baselines/cnn_lstm.py`.

    Attributes:
      channels: of the convolutions, 3 × 3 with ReLU, each followed by max pooling of 2 × 2.
      width: numbers of a modality's vector: of the dense layer behind the convolutions, and of the
        LSTM's state.
      word: numbers of the embedding of a text piece.
      dense: widths of the dense layers with ReLU behind the concatenation; the last one is the width
        of the features.
      dropout: share of the features at the top that training sets to 0.
      compute: dtype of activations; parameters are float32.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    width: int = 128
    word: int = 128
    dense: tuple[int, ...] = (128, 64, 32)
    dropout: float = 0.5
    compute: Literal["bfloat16", "float32"] = "bfloat16"
    kind: Literal["cnn_lstm"] = "cnn_lstm"

    def __post_init__(self) -> None:
        _check(self)


@dataclasses.dataclass(frozen=True)
class FrameLstm:
    """Late fusion with time: a CNN of each frame and of each step of sound, and an LSTM over them; an LSTM of words.

    Attributes:
      channels: of the convolutions, 3 × 3 with ReLU, each followed by max pooling of 2 × 2.
      width: numbers of a frame's vector and of the state of every LSTM.
      word: numbers of the embedding of a text piece.
      dense: widths of the dense layers with ReLU behind the concatenation; the last one is the width
        of the features.
      dropout: share of the features at the top that training sets to 0.
      compute: dtype of activations; parameters are float32.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    width: int = 128
    word: int = 128
    dense: tuple[int, ...] = (128, 64, 32)
    dropout: float = 0.5
    compute: Literal["bfloat16", "float32"] = "bfloat16"
    kind: Literal["frame_lstm"] = "frame_lstm"

    def __post_init__(self) -> None:
        _check(self)


Baseline = CnnLstm | FrameLstm


def _check(config: Baseline) -> None:
    """Raises ValueError for numbers that no such model can have."""
    for name in ("channels", "dense"):
        sizes = getattr(config, name)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"model.{name} {sizes} must hold one number or more, each 1 or more")
    if min(config.width, config.word) < 1:
        raise ValueError(f"model.width {config.width} and model.word {config.word} must be 1 or more")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"model.dropout {config.dropout} must be in [0, 1)")
