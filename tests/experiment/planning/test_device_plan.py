"""A launch on devices that are not at hand: what fits, how long, and that XLA says the same."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mmvideo.cli.main import main
from mmvideo.cost_model.devices import DEVICES
from mmvideo.experiment.config import to_json
from mmvideo.experiment.planning.device_plan import fit_mesh, plan_devices, step_time, with_compiled_bytes
from mmvideo.experiment.planning.host_cpu import cpu_seconds_per_clip
from mmvideo.experiment.planning.plan import memory, plan
from mmvideo.experiment.planning.xla_compile import Compiled, compile_in_subprocess
from mmvideo.input.config import Input, Video
from mmvideo.parallel.config import Mesh


def test_a_mesh_that_does_not_fit_is_cut_down():
    assert fit_mesh(Mesh(data=-1, fsdp=8), 64) == Mesh(data=-1, fsdp=8)
    assert fit_mesh(Mesh(data=-1, fsdp=8), 1) == Mesh(data=-1, fsdp=1)
    assert fit_mesh(Mesh(data=-1, fsdp=8), 12) == Mesh(data=-1, fsdp=4)
    assert fit_mesh(Mesh(data=2, fsdp=2, tensor=2), 4) == Mesh(data=-1, fsdp=2, tensor=2)


def test_cores_are_those_of_the_stated_cost():
    """16 frames at a stride of 4 of 30 a second: 21 clips a second."""
    clips = Input(sources=(), video=Video(fps=7.5, frames=16), audio=None)
    assert cpu_seconds_per_clip(clips) == pytest.approx(1 / 21)


def test_remat_lowers_the_utilisation_and_not_the_one_that_is_asked_for(tiny):
    """Two ninths of the products are computed again, and count as nothing; what is asked for holds as it stands."""
    full, h100 = dataclasses.replace(tiny, model=dataclasses.replace(tiny.model, remat="full")), DEVICES["h100"]
    (mfu, _, seconds), (less, words, longer) = (step_time(each, h100, 8, 1e15) for each in (tiny, full))
    assert longer == pytest.approx(seconds * 11 / 9) and less * longer == pytest.approx(mfu * seconds)
    assert "remat" in words
    assert step_time(full, h100, 8, 1e15, 0.4) == (0.4, "as asked for", pytest.approx(1e15 / (8 * h100.flops * 0.4)))


@pytest.fixture(scope="module")
def small():
    """A device with room for the state and a few rows."""
    return dataclasses.replace(DEVICES["h100"], memory=64 * 2**20)


@pytest.mark.slow(reason="plans a run for several numbers of rows")
def test_what_fits_is_what_a_plan_of_as_many_rows_takes(tiny, small):
    launch = plan_devices(tiny, small, 1, mfu=0.5)

    def total(rows: int) -> int:
        packing = dataclasses.replace(tiny.input.packing, rows=rows)
        return memory(dataclasses.replace(tiny, input=dataclasses.replace(tiny.input, packing=packing))).total

    assert launch.fits > launch.rows and launch.grad_accum_steps == 1
    assert total(launch.fits) == pytest.approx(launch.usable, rel=0.05)
    assert plan_devices(tiny, dataclasses.replace(small, memory=2**10), 1).grad_accum_steps == 0
    assert launch.flops == pytest.approx(launch.seconds * small.flops * 0.5)
    assert 0 < launch.flops <= launch.plan.run.flops
    assert launch.cores == pytest.approx(launch.clips_per_second * cpu_seconds_per_clip(tiny.input))


def test_bytes_of_the_devices_own_compiler_count_before_the_rehearsed_ones(tiny, small):
    """It says twice the work of the rehearsal: a row more takes twice as much, and fewer fit beside the state."""
    launch = plan_devices(tiny, small, 1, mfu=0.5)
    work = launch.memory.gradients + launch.memory.activations
    found = Compiled("1 x it", True, launch.memory.held, 2 * work, (), 1.0)
    told = with_compiled_bytes(launch, launch, found)
    assert (
        told.compiled and told.bytes == launch.memory.held + 2 * work and told.bytes_per_row == 2 * launch.bytes_per_row
    )
    assert told.fits == pytest.approx(launch.rows + (told.usable - told.bytes) / (2 * launch.bytes_per_row), abs=1)
    assert told.fits < launch.fits
    # Those of a compiler for CPUs don't.
    assert with_compiled_bytes(launch, launch, dataclasses.replace(found, own=False)) == launch


@pytest.mark.slow(reason="plans a run for several devices")
def test_the_command_tells_of_devices(tiny, tmp_path, capsys):
    (tmp_path / "config.json").write_text(to_json(tiny))
    assert main(["plan", str(tmp_path), "--device", "v5p-8", "--mesh", "fsdp=4", "--mfu", "0.4"]) == 0
    page = capsys.readouterr().out
    assert "4 x TPU v5p" in page and "rows a device" in page and "fsdp=4" in page and "as asked for" in page
    assert main(["plan", str(tmp_path), "--device", "h100", "--devices", "8", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["launch"]["device"] == "h100" and found["launch"]["sizes"]["data"] == 8 == found["devices"]
    assert main(["plan", str(tmp_path), "--mesh", "tensor=2", "--devices", "2", "--layout"]) == 0
    assert ", tensor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--device", "h300"], "take one of h100"),
        (["--device", "v5p-8", "--devices", "8"], "has 4 chips, but --devices says 8"),
        (["--compile"], "need a --device"),
        (["--device", "h100", "--compile", "--rehearse"], "leave one out"),
        (["--device", "h100", "--mesh", "fdsp=8"], "did you mean 'fsdp'"),
        (["--device", "h100", "--devices", "4", "--mesh", "fsdp=8"], "the product is 8"),
        (["--device", "h100", "--mfu", "40"], "--mfu must be above 0"),
        (["--profile"], "need a --device"),
        (["--device", "h100", "--profile", "--mfu", "0.4"], "leave --rehearse and --mfu out"),
        (["--device", "v5p-2", "--profile"], "has prices for h100"),
        (["--device", "h100", "--devices", "8", "--profile"], "of one device, not of 8"),
        (["--device", "h100", "--profile"], "pip install mmvideo[cuda]"),
    ],
)
def test_what_cannot_be_is_one_line(tiny, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.setattr("mmvideo.cost_model.compile_targets.PLUGINS", ())
    (tmp_path / "config.json").write_text(to_json(tiny))
    assert main(["plan", str(tmp_path), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.slow(reason="compiles a step for four devices")
def test_the_compiler_has_the_same_arguments_and_sends_gradients(tiny):
    """Two copies of two shards: held bytes are XLA's, and it gathers parameters and sums gradients."""
    meshed = dataclasses.replace(tiny, mesh=Mesh(data=2, fsdp=2))
    found, planned = compile_in_subprocess(meshed, 4), plan(meshed, 4).memory
    assert planned.held == pytest.approx(found.arguments, rel=0.05)
    kinds = {each.kind: each for each in found.collectives}
    assert {"all-gather", "all-reduce"} <= kinds.keys()
    assert kinds["all-reduce"].bytes >= planned.gradients
