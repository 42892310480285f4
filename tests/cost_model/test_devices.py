"""Names of devices and slices, reduced meshes, and collectives of a text checked by hand."""

from __future__ import annotations

import pytest

from mmvideo.cost_model.collectives import Collective, expected_traffic, read_collectives
from mmvideo.cost_model.devices import DEVICES, device_named, device_of_kind, torus


@pytest.mark.parametrize(
    ("text", "name", "chips"),
    [
        ("h100", "h100", None),
        ("v5p-128", "v5p", 64),
        ("v4-8", "v4", 4),
        ("v5litepod-16", "v5e", 16),
        ("V6E-8", "v6e", 8),
    ],
)
def test_a_slice_is_named_by_its_cores_or_its_chips(text, name, chips):
    assert device_named(text) == (DEVICES[name], chips)


@pytest.mark.parametrize(
    ("text", "words"), [("h300", "take one of h100"), ("h100-8", "--devices"), ("v5p-7", "counts TensorCores")]
)
def test_an_unknown_device_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        device_named(text)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA B200", "b200"),
        ("TPU v5 lite", "v5e"),
        ("TPU v5", "v5p"),
        ("cpu", None),
    ],
)
def test_what_jax_calls_a_device(kind, name):
    assert device_of_kind(kind) == (None if name is None else DEVICES[name])


def test_shapes_of_slices():
    shapes = [torus(DEVICES["v5p"], chips) for chips in (1, 4, 8, 16, 64, 128)]
    assert shapes == [f"v5p:{sides}" for sides in ("1x1x1", "2x2x1", "2x2x2", "2x2x4", "4x4x4", "4x4x8")]
    assert torus(DEVICES["v6e"], 32) == "v6e:4x8"
    with pytest.raises(ValueError, match="power of two"):
        torus(DEVICES["v5e"], 12)


def test_traffic_of_rings():
    """Four shards of 1 MB: three are sent three times; two copies: each sends its gradients once."""
    assert expected_traffic(10**6, 10**6, {"data": 1, "fsdp": 4, "tensor": 1}) == 9e6
    assert expected_traffic(10**6, 10**6, {"data": 2, "fsdp": 1, "tensor": 1}) == 1e6


MODULE = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

%body (p: (s32[], f32[8])) -> (s32[], f32[8]) {
  %gathered = bf16[4,8]{1,0} all-gather(%x), channel_id=1, dimensions={0}
  ROOT %r = (s32[], f32[8]) tuple(%i, %y)
}

%condition (p: (s32[], f32[8])) -> pred[] {
  ROOT %less = pred[] compare(%i, %n)
}

ENTRY %main (p0: f32[8]) -> f32[8] {
  %loop = (s32[], f32[8]) while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"12"}}
  %all = (f32[8]{0}, f32[]) all-reduce-start(%a, %b), to_apply=%add
  %one = (bf16[4]{0:T(8)(2,1)}, bf16[16]{0:T(8)(2,1)}) all-gather-start(%c), dimensions={0}
  %two = ((f32[16]{0}, f32[8]{0}), (f32[4]{0}, f32[2]{0})) reduce-scatter-start(%d, %e), to_apply=%add
  %far = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%a), source_target_pairs={{0,1},{1,0}}
  ROOT %done = (f32[8]{0}, f32[]) all-reduce-done(%all)
}
"""


def test_collectives_count_as_often_as_their_loop_runs():
    """Bytes are those of the results alone: the inputs of a collective do not count."""
    assert read_collectives(MODULE) == (
        Collective("all-reduce", 1, 36),
        Collective("all-gather", 12 + 1, 12 * 64 + 32),
        Collective("reduce-scatter", 1, 24),
        Collective("collective-permute", 1, 32),
    )
