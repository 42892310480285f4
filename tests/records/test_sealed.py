"""A sealed file that is nested beyond what can be read is damage, not a crash."""

from __future__ import annotations

import pytest

from mmvideo.experiment.config import ConfigError, from_json
from mmvideo.records.lines import read_lines
from mmvideo.records.sealed import DamagedRecord, unseal

DEEP = "[" * 200_000


def test_lists_in_lists_without_end_are_damage(tmp_path):
    with pytest.raises(DamagedRecord, match="x.json is damaged: it is not JSON"):
        unseal(DEEP.encode(), "x.json")
    with pytest.raises(ConfigError, match="x.json is not JSON that can be read"):
        from_json(DEEP, "x.json")
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{DEEP}\n')
    assert read_lines(tmp_path / "metrics.jsonl") == [{"step": 1}]
