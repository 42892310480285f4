"""An .npz that claims more than it holds is one clear error, before memory is taken."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from mmvideo.input.annotations.npz_header import check_sizes
from mmvideo.input.annotations.teacher_embeddings import read_teacher_embeddings, write_teacher_embeddings


def claiming(shape: tuple[int, ...]) -> bytes:
    """The .npy bytes of an array that claims a shape and holds three numbers."""
    data = io.BytesIO()
    npy.write_array_header_1_0(data, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return data.getvalue() + np.zeros(3, np.float32).tobytes()


@pytest.mark.parametrize("shape", [(2**20, 2**20), (4,), (2,), (2**62, 2**62)])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_that_claims_another_size_is_told(tmp_path, shape, method):
    path = tmp_path / "vectors.npz"
    write_teacher_embeddings(path, ["a"], {"video": np.zeros((1, 3))})
    with zipfile.ZipFile(path, "a", method) as file:
        file.writestr("audio.npy", claiming(shape))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"input.embeddings: .*array 'audio' claims [\d,]+ bytes, .* holds 12 of it"):
        read_teacher_embeddings(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_every_damage_is_one_error_that_names_the_file(tmp_path):
    path = tmp_path / "vectors.npz"
    write_teacher_embeddings(path, ["a", "b"], {"video": np.ones((2, 3)), "audio": np.ones((2, 2))})
    check_sizes(path)
    sound = path.read_bytes()
    chance = np.random.default_rng(0)
    for place in chance.integers(len(sound), size=300):
        broken = bytearray(sound)
        broken[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(broken)
        try:
            ids, groups = read_teacher_embeddings(path)
        except ValueError as error:
            assert str(path) in str(error)
        else:  # A time stamp, or another byte of the archive that says nothing of the arrays.
            assert ids == ["a", "b"]
            assert all((values == 1).all() for values in groups.values()) and set(groups) == {"video", "audio"}


def test_no_half_written_file_stays(tmp_path):
    write_teacher_embeddings(tmp_path / "vectors.npz", ["a"], {"video": np.zeros((1, 3))})
    assert [path.name for path in tmp_path.iterdir()] == ["vectors.npz"]
