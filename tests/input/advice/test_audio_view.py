"""The statistics of spectrograms are those of the sound that a run hears."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mmvideo.datasets.build import build
from mmvideo.datasets.corpus import open_corpus
from mmvideo.input.advice.audio_view import choose_deviation, choose_mean
from mmvideo.input.advice.choice import Situation
from mmvideo.input.config import Audio, Input, Packing, Source
from mmvideo.input.mixture import CorpusMixture
from mmvideo.input.pipeline import Batches
from mmvideo.media.config import Spectrogram
from mmvideo.media.encode import encode

AUDIO = Audio(seconds=1.0, spectrogram=Spectrogram(kind="log_mel", bins=32), patch=(8, 16))


@pytest.fixture
def sounds(tmp_path):
    """Builds a corpus of sounds."""

    def make(name: str, sounds: list[np.ndarray]) -> str:
        (tmp_path / name).mkdir()
        for number, samples in enumerate(sounds):
            encode(tmp_path / name / f"{number}.mp4", None, 0.0, samples=samples.astype(np.float32))
        build(tmp_path / name, tmp_path / f"{name}_corpus", processes=1, progress=False)
        return str(tmp_path / f"{name}_corpus")

    return make


def statistics(path: str) -> tuple[float, float, str]:
    now = Situation(Input((Source(path),), None, AUDIO, None), CorpusMixture([open_corpus(path, "train")]))
    mean, deviation = choose_mean(now), choose_deviation(now)
    return mean.value, deviation.value, deviation.why


def test_a_batch_has_mean_zero_and_deviation_one(sounds):
    draw = np.random.default_rng(0)
    path = sounds("noise", [draw.normal(0, level, 16000) for level in (0.02, 0.1, 0.2)])
    mean, deviation, why = statistics(path)
    assert "of 3 clips" in why
    spectrogram = dataclasses.replace(AUDIO.spectrogram, mean=mean, deviation=deviation)
    config = Input(
        (Source(path),), None, dataclasses.replace(AUDIO, spectrogram=spectrogram), None,
        packing=Packing(rows=3, tokens=24, clips=1),
    )  # fmt: skip
    content = Batches(config, train=False).batch(0).content["audio"]
    values = content[np.abs(content).sum(axis=-1) > 0]
    assert abs(values.mean()) < 0.05 and abs(values.std() - 1) < 0.05


def test_silence_is_not_blown_up(sounds):
    _, deviation, why = statistics(sounds("silence", [np.zeros(16000)] * 2))
    assert deviation == 1.0 and "silence" in why
