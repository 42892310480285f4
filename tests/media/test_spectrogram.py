"""Spectrograms against torchaudio, Kaldi, librosa and DMVR, in NumPy and in JAX."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmvideo.media.spectrogram import (
    AST,
    AUDIO_MAE,
    CAV_MAE,
    MBT,
    MERLOT_RESERVE,
    VATT,
    Spectrogram,
    frame_count,
    spectrogram,
)

GOLDEN = np.load(Path(__file__).parent / "golden" / "spectrograms.npz")
SOUND = GOLDEN["samples"]
NOISE = slice(4000, 7800)
RAW = dict(mean=0.0, deviation=1.0)
CASES = {
    "ast": dataclasses.replace(AST, **RAW),
    "kaldi_hamming": dataclasses.replace(AST, window="hamming", **RAW),
    "vatt": VATT,
    "mbt": dataclasses.replace(MBT, **RAW),
    "merlot_reserve": dataclasses.replace(MERLOT_RESERVE, **RAW),
}
PRESETS = dict(ast=AST, audio_mae=AUDIO_MAE, cav_mae=CAV_MAE, vatt=VATT, mbt=MBT, merlot_reserve=MERLOT_RESERVE)


@pytest.mark.parametrize("name", CASES)
def test_log_energies_are_the_references(name):
    np.testing.assert_allclose(spectrogram(SOUND, CASES[name]), GOLDEN[name], atol=1e-4, rtol=0)


def test_kaldis_own_code_agrees():
    config = Spectrogram(bins=80, window="povey", **RAW)
    np.testing.assert_allclose(spectrogram(SOUND[NOISE], config), GOLDEN["kaldi_80"], atol=1e-4, rtol=0)


def test_normalisations_are_the_published_ones():
    log = GOLDEN["ast"]
    np.testing.assert_allclose(spectrogram(SOUND, AST), (log + 4.2677393) / (2 * 4.5689974), atol=1e-4)
    np.testing.assert_allclose(spectrogram(SOUND, AUDIO_MAE), (log + 4.2677393) / (2 * 4.5689974), atol=1e-4)
    np.testing.assert_allclose(spectrogram(SOUND, CAV_MAE), (log + 5.081) / 4.4849, atol=1e-4)
    np.testing.assert_allclose(spectrogram(SOUND, MBT), (GOLDEN["mbt"] - 1.102) / 2.762, atol=1e-4)
    reserve = GOLDEN["merlot_reserve"] - np.log(0.1)
    np.testing.assert_allclose(spectrogram(SOUND, MERLOT_RESERVE), reserve, atol=1e-4)


@pytest.mark.parametrize("name", PRESETS)
def test_jax_gives_the_same(name):
    config = PRESETS[name]
    here = jax.jit(lambda x: spectrogram(x, config, jnp))(SOUND[NOISE])
    assert here.dtype == jnp.float32
    np.testing.assert_allclose(here, spectrogram(SOUND[NOISE], config), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", PRESETS)
def test_jax_on_a_clear_tone_is_right_to_float32(name):
    """A bin far under the tone is lost in float32's rounding; as energies the two still agree."""
    config = dataclasses.replace(PRESETS[name], **RAW)
    there, here = (np.exp(np.asarray(spectrogram(SOUND, config, xp), np.float64)) for xp in (np, jnp))
    assert (np.abs(here - there).max(axis=1) <= 1e-5 * there.max(axis=1) + 1e-6).all()


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("samples", [0, 1, 399, 400, 401, 2048, 9800, 16000])
def test_frame_count_is_the_number_of_rows(name, samples):
    config = PRESETS[name]
    rows = spectrogram(np.zeros(samples, np.float32), config)
    assert rows.shape == (frame_count(samples, config), config.bins)
    assert rows.dtype == np.float32 and np.isfinite(rows).all()


def test_published_numbers_of_rows():
    assert frame_count(10 * 16000, AST) == 998  # AST pads these to 1024.
    assert frame_count(8 * 16000, MBT) == 800  # MBT stores 100 rows a second.
    assert frame_count(5 * 22050, MERLOT_RESERVE) == 188  # Three spans of 60 rows and four gaps of two.


def test_leading_axes_are_batches():
    batch = np.stack([SOUND, SOUND[::-1]]).reshape(2, 1, -1)
    for config in (AST, MBT, MERLOT_RESERVE):
        rows = spectrogram(batch, config)
        np.testing.assert_array_equal(rows[1, 0], spectrogram(SOUND[::-1], config))


@pytest.mark.parametrize("kind", ["kaldi", "log_mel"])
def test_a_tone_shows_in_its_bin(kind):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    config = Spectrogram(kind=kind, bins=40, **RAW)
    edges = np.linspace(1127 * np.log1p(20 / 700), 1127 * np.log1p(8000 / 700), 42)
    expected = np.abs(edges[1:-1] - 1127 * np.log1p(1000 / 700)).argmin()
    assert (spectrogram(tone, config)[5:-5].argmax(axis=1) == expected).all()


def test_filters_that_do_not_fit():
    with pytest.raises(ValueError, match="do not fit"):
        spectrogram(SOUND, dataclasses.replace(AST, high_hz=9000.0))
