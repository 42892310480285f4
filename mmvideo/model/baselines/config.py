"""Settings of the baselines."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class CnnLstm:
    """Late fusion as in introductions to the field: a CNN of frames, a CNN of audio, an LSTM of text.

    The sizes of frames, spectrograms, texts and vocabulary are those of the stream. The usual ones are 224 × 224 × 3
    pixels, 128 × 128 spectrograms and 100 tokens of a vocabulary of 10,000. `configs/baselines/cnn_lstm.py` has these
    sizes and the values below.

    Attributes:
      channels: channels of the convolutions, 3 × 3 with ReLU, each followed by max pooling of 2 × 2.
      width: width of a modality's vector: of the dense layer after the convolutions and of the LSTM's state.
      word: width of the embedding of a text token.
      dense: widths of the dense layers with ReLU after the concatenation; the last is the width of the features.
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
    """Late fusion with time: a CNN of each frame and each audio step with an LSTM over them, and an LSTM of text.

    Attributes:
      channels: channels of the convolutions, 3 × 3 with ReLU, each followed by max pooling of 2 × 2.
      width: width of a frame's vector and of the state of every LSTM.
      word: width of the embedding of a text token.
      dense: widths of the dense layers with ReLU after the concatenation; the last is the width of the features.
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
    """Raise ValueError for sizes that no such model can have."""
    for name in ("channels", "dense"):
        sizes = getattr(config, name)
        if not sizes or min(sizes) < 1:
            raise ValueError(f"model.{name} {sizes} must have one entry or more, each 1 or more")
    if min(config.width, config.word) < 1:
        raise ValueError(f"model.width {config.width} and model.word {config.word} must be 1 or more")
    if not 0 <= config.dropout < 1:
        raise ValueError(f"model.dropout {config.dropout} must be in [0, 1)")
