"""METEOR and SPICE by their jars; METEOR's values only where `MMVIDEO_METEOR_JAR` names one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmvideo.evaluation.metrics.captions.caption_metrics import caption_metrics
from mmvideo.evaluation.metrics.captions.caption_words import caption_words
from mmvideo.evaluation.metrics.captions.java_scorers import (
    METEOR_VARIABLE,
    SPICE_VARIABLE,
    Meteor,
    jar,
    spice,
)

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "caption_scores.json").read_text(encoding="utf-8"))
NO_JAR = not os.environ.get(METEOR_VARIABLE)
needs_meteor = pytest.mark.skipif(NO_JAR, reason=f"{METEOR_VARIABLE} names no meteor-1.5.jar")
needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no java on the PATH")


@needs_meteor
@pytest.mark.slow(reason="starts Java")
def test_meteor_equals_the_reference_wrapper():
    with Meteor(jar(None, METEOR_VARIABLE)) as meteor:
        for clips in GOLDEN.values():
            predicted = [caption_words(caption) for caption in clips["predicted"]]
            references = [[caption_words(one) for one in its] for its in clips["references"]]
            corpus, each = meteor.score(predicted, references)
            np.testing.assert_allclose([corpus, *each], clips["scores"]["meteor"], rtol=0, atol=1e-6)


@needs_meteor
@pytest.mark.slow(reason="starts Java")
def test_captions_are_scored_by_meteor_where_the_jar_is_named():
    metrics, clips = caption_metrics({"a": "a dog runs"}, {"a": ["a dog is running", "un café"]})
    assert 0.2 < metrics["meteor"] <= 1.0
    assert clips["a"]["meteor"] == pytest.approx(metrics["meteor"])


def test_no_jar_is_no_metric_and_a_wrong_one_an_error(monkeypatch, tmp_path):
    monkeypatch.delenv(SPICE_VARIABLE, raising=False)
    assert jar(None, SPICE_VARIABLE) is None
    monkeypatch.setenv(SPICE_VARIABLE, str(tmp_path / "spice-1.0.jar"))
    with pytest.raises(ValueError, match="no jar at .*spice-1.0.jar: set MMVIDEO_SPICE_JAR.*pip install"):
        jar(None, SPICE_VARIABLE)


def test_java_itself_is_named_when_missing(monkeypatch, tmp_path):
    (tmp_path / "meteor-1.5.jar").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="needs Java"):
        jar(tmp_path / "meteor-1.5.jar", METEOR_VARIABLE)


@needs_java
def test_a_program_that_fails_says_so(tmp_path):
    broken = tmp_path / "broken.jar"
    broken.write_text("not a jar")
    with Meteor(broken) as meteor, pytest.raises(RuntimeError, match="broken.jar ended without a reply: .+"):
        meteor.score([["a"]], [[["a"]]])
    with pytest.raises(RuntimeError, match="broken.jar failed: .+get_stanford_models"):
        spice([["a"]], [[["a"]]], broken)
