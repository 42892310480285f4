"""The table of the gain of each modality, by hand."""

from __future__ import annotations

from mmvideo.evaluation.report.modality_gains import gains_by_modality, subsets, table_lines


def test_every_group_but_the_whole():
    assert subsets(("video",)) == ()
    assert subsets(("audio", "video")) == ("video", "audio")
    assert subsets(("video", "audio", "text")) == (
        "video+audio", "video+text", "audio+text", "video", "audio", "text",
    )  # fmt: skip


def test_what_is_added_is_lost_without_it():
    variants = {
        "classification": {
            "all": {"kind/top1": 0.9, "kind/top5": 1.0, "tags/mAP": 0.5, "kind/clips": 10, "video/mAP": 0.1},
            "video": {"kind/top1": 0.6, "tags/mAP": 0.5, "kind/clips": 10},
            "audio": {"kind/clips": 0},
        },
        "regression": {"all": {"mood/mae": 0.5}, "video": {"mood/mae": 0.75}, "audio": {"mood/mae": 0.5}},
        "retrieval": {"all": {"a_to_b/r@1": 0.2, "a_to_b/dsl/r@1": 0.3}, "video": {}, "audio": {}},
        "losses": {"all": {"loss": 1.0}, "video": {"loss": 2.0}},
    }
    rows = {row.measure: row for row in gains_by_modality(variants)}
    assert set(rows) == {"kind/top1", "tags/mAP", "video/mAP", "mood/mae", "a_to_b/r@1"}
    kind = rows["kind/top1"]
    assert kind.values == {"all": 0.9, "video": 0.6, "audio": None}
    assert kind.adds["video"] is None, "without the video nothing is answered"
    assert abs(kind.adds["audio"] - 0.3) < 1e-12
    assert rows["mood/mae"].adds == {"video": 0.0, "audio": 0.25}, "of errors less is better"
    lines = table_lines(gains_by_modality(variants))
    assert lines[0].split()[4:] == ["all", "video", "audio", "+video", "+audio"]
    assert lines[1].split() == ["kind/top1", "0.900", "0.600", "–", "–", "+0.300"]
    assert table_lines([]) == []


def test_equal_captions_as_one_stand_for_a_direction():
    metrics = {"video_to_text/r@1": 0.0, "video_to_text/distinct/r@1": 0.6}
    (row,) = gains_by_modality({"retrieval": {"all": metrics, "video": {}}})
    assert row.measure == "video_to_text/distinct/r@1"
