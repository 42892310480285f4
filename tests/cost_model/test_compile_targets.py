"""Descriptions of absent devices."""

from __future__ import annotations

import dataclasses
import re

import pytest

from mmvideo.cost_model.compile_targets import GPUS, gpu_config, target
from mmvideo.cost_model.devices import DEVICES


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_is_described_by_its_data_sheet(name):
    """A description is valid protocol buffer text, and its units give the device's FLOPs per second."""
    text, gpu = gpu_config(DEVICES[name]), GPUS[name]
    assert text.count("{") == text.count("}")
    fields = dict(re.findall(r"(\w+): (\S+)", text))
    assert int(fields["device_memory_size"]) == DEVICES[name].memory
    # Tensor cores make 16 times the products of the units for float32, Blackwell's 32 times; those of the H100 are
    # counted at 1.83 GHz, of the B200 at 1.835, for which the data sheet has but two digits: 36 PFLOPS of eight.
    times, rel = {8: (16, 0.01), 9: (16 * 1.83 / 1.98, 0.01), 10: (32 * 1.835 / 1.965, 0.014)}[gpu.capability[0]]
    float32 = 2 * gpu.multiprocessors * gpu.fp32 * gpu.clock * 1e9
    assert DEVICES[name].flops / float32 == pytest.approx(times, rel=rel)


def test_what_cannot_be_compiled_for_is_left_to_the_cpu():
    """A GPU without a description has no target."""
    assert target(dataclasses.replace(DEVICES["h100"], name="h300"), 8) is None
