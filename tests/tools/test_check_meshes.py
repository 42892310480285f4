"""The check of all meshes: it knows them all, and what is off is told. What it compares is run by hand."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def check():
    path = Path(__file__).parents[2] / "tools" / "check_meshes.py"
    spec = importlib.util.spec_from_file_location("check_meshes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mesh_of_eight_devices_is_there(check):
    shapes = {(mesh.data, mesh.fsdp, mesh.tensor, mesh.context) for mesh in check.meshes(8)}
    assert len(shapes) == 20 and {(8, 1, 1, 1), (1, 1, 1, 8), (2, 1, 2, 2)} <= shapes


def test_a_gradient_that_is_off_is_told(check):
    one = [np.ones(4, np.float32), np.full(9, 1e-9, np.float32)]
    assert check.deviation([one[0] * (1 + 2e-5), one[1]], one) > check.TOLERANCE
    # Next to the whole gradient the second array is rounding.
    assert check.deviation([one[0], -one[1]], one) < check.TOLERANCE
    assert check.difference(np.float32(1.0001), np.float32(1)) > check.TOLERANCE


@pytest.mark.parametrize("hide", [False, True])
def test_the_batch_is_packed_lacks_something_and_divides(check, hide):
    stream = check.batch(hide)
    assert stream.layout.modality.shape[0] == 8 and stream.layout.modality.shape[1] % 8 == 0
    there = stream.clips.clip_index >= 0
    assert there.sum() == check.CLIPS and there.sum(axis=1).max() > 1
    assert not stream.clips.present[there].all()
    assert (stream.decode is not None) == hide
