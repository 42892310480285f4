"""Targets of mixed clips, from corpora that know several classes and numbers."""

from __future__ import annotations

import dataclasses
import json

import numpy as np

from mmvideo.datasets.build import build
from mmvideo.input.config import Audio, Input, Mixing, Packing, Source
from mmvideo.input.pipeline import Batches


def test_targets_are_the_weighted_sum_of_both_clips(tmp_path):
    from mmvideo.media.encode import encode

    labels = [
        {"events": ["dog", "bark"], "mood": -1.5},
        {"events": [], "mood": 2.0},
        {"mood": 0.5},
        {"events": ["dog"]},
    ]
    (tmp_path / "clips").mkdir()
    encode(tmp_path / "clips" / "a.mp4", None, 0.0, samples=np.sin(np.arange(8000) / 9).astype(np.float32))
    rows = [{"id": str(n), "media": "a.mp4", "labels": own} for n, own in enumerate(labels)]
    (tmp_path / "clips" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build(tmp_path / "clips", tmp_path / "corpus", processes=1, progress=False)
    config = Input(
        (Source(str(tmp_path / "corpus")),), None, Audio(seconds=0.5), None, packing=Packing(rows=2, tokens=96, clips=4)
    )
    mixed, plain = Batches(dataclasses.replace(config, mixing=Mixing(mixup=1.0))), Batches(config)
    known = plain.corpus.targets.of(np.arange(4))
    seen = set()
    for step in range(8):
        clips = mixed.batch(step).clips
        for row in range(2):
            sampled = mixed._planner.row(2 * step + row).sampled
            for slot, (own, other) in enumerate(zip(sampled.clip.tolist(), sampled.partner.tolist(), strict=True)):
                share = clips.mixed.share[row, slot]
                for kind, values in known.items():
                    expected = share * values[own] + (1 - share) * values[other]
                    np.testing.assert_allclose(clips.targets[kind][row, slot], expected, atol=1e-6)
                seen.add((own, other))
    assert len(seen) > 8
