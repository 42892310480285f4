"""Kill, corrupt and stop a small real run repeatedly, and check that nothing is lost.

COMMAND  python tools/faults.py --kills 50 --flips 100
COST     2 CPU cores, about 8 minutes
EXPECTS  every row fine, exit code 0; exit code 1 if anything is lost

| fault | required outcome |
|---|---|
| SIGKILL at random moments, saves included | every run resumes; at most the save in flight is missing |
| a flipped bit anywhere in a checkpoint's files | it is found, and the previous checkpoint is restored bit for bit |
| a flipped bit in a file of a corpus | an error names the file, or the affected clips are skipped with the reason |
| the same in kept batches | damaged batches are computed again, bit for bit |
| the same in a run's records | an error or a line names the file; damaged content is never used |
| SIGTERM to one of two processes | both stop at one step; the resumed run ends with the bits of an uninterrupted one |
| steps whose loss is NaN | they are skipped and counted, and the parameters stay finite |

The run is the toy of the trainer's tests: a tiny model, with the loop, checkpoints and signal handling of every run.
The flips leave Orbax's markers of a finished write alone, because nothing is read from them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "training")]

from flips import Row, flip_corpus, flip_kept, flip_records, flipped  # noqa: E402

TOY = ROOT / "tests" / "training" / "training_toy.py"
SAVE_EVERY = 20
"""Steps between two checkpoints of the killed run."""

MARKS = ("_CHECKPOINT_METADATA", "commit_success.txt", "written/commit_success.txt")
"""Orbax's files that mark a finished checkpoint; nothing is read from them."""

PATIENCE = 300
"""Seconds to wait for the output of a process."""


def start(workdir: Path, *arguments: object, process: int = 0, port: int | None = None) -> subprocess.Popen:
    """Start the toy in its own process; with a port, as one of two processes with two devices each."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".jax_cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    if port is not None:
        environment |= {"MMVIDEO_COORDINATOR": f"localhost:{port}", "MMVIDEO_PROCESSES": "2"}
        environment |= {"MMVIDEO_PROCESS": str(process), "JAX_NUM_CPU_DEVICES": "2"}
    command = [sys.executable, str(TOY), str(workdir), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def pair(workdir: Path, *arguments: object) -> list[subprocess.Popen]:
    """Start two processes of one run."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    return [start(workdir, *arguments, process=number, port=port) for number in range(2)]


def finish(processes: list[subprocess.Popen]) -> list[str]:
    """Return the output of each process once all have ended successfully."""
    try:
        said = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, words in zip(processes, said, strict=True):
        if process.returncode != 0:
            raise RuntimeError(f"exit code {process.returncode}: {words[-2000:]}")
    return said


def reached(workdir: Path) -> int:
    """Return the last step that has a log line."""
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        lines = file.read().decode().splitlines()
    for line in reversed(lines):
        try:
            return json.loads(line)["step"]
        except (json.JSONDecodeError, KeyError):
            continue  # A killed process has left half a line.
    return 0


def wait_until(condition, process: subprocess.Popen) -> None:
    """Wait for a condition while the process runs."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"it never came; exit code {process.poll()}")
        time.sleep(0.005)


def kill_over_and_over(folder: Path, kills: int, chance: random.Random) -> Row:
    """Kill one run repeatedly: every fifth time while it starts, otherwise while it steps and saves."""
    from mmvideo.training.checkpoint.checkpoints import Checkpoints

    run, checkpoints = folder / "killed", Checkpoints(folder / "killed" / "checkpoints", loud=False)
    arguments = ("--steps", 10**6, "--save-every", SAVE_EVERY)
    fine, in_save, most, before = 0, 0, 0, 0
    for number in range(kills):
        process, began = start(run, *arguments), time.time()
        if number % 5 == 4:
            time.sleep(chance.uniform(0.0, 6.0))
        else:
            resumed = checkpoints.latest or 0
            try:
                wait_until(lambda known=(0, resumed, before): reached(run) not in known, process)
                # Count steps, not seconds: otherwise a run on a busy machine would be killed before every first save.
                aim = resumed + chance.randint(1, 3 * SAVE_EVERY)
                wait_until(lambda aim=aim: reached(run) >= aim, process)
            except RuntimeError:
                print(f"kill {number}: the run did not resume: {process.communicate()[0][-2000:]}", file=sys.stderr)
                return Row("SIGKILL", kills, fine, f"kill {number}: the run did not resume")
            time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        before = reached(run)
        # The log line of a step may precede the start of its checkpoint.
        last_due = max(0, before - 1) // SAVE_EVERY * SAVE_EVERY
        left = checkpoints.latest or 0
        in_save += any(path.stat().st_ctime > began for path in run.glob("checkpoints/*tmp*"))
        most = max(most, before - left)
        fine += last_due - left <= SAVE_EVERY
    if checkpoints.latest is None:
        return Row("SIGKILL", kills, 0, "every kill came before the first save was done: nothing is shown")
    whole, steps = equals_uninterrupted(folder, run)
    whole = whole and not list(run.glob("checkpoints/damaged*"))
    note = f"{in_save} kills within a save; at most {most} steps to do again, of {SAVE_EVERY} between saves; "
    note += f"resumed, step {steps} is {'bit for bit that' if whole else 'NOT that'} of an uninterrupted run"
    return Row("SIGKILL", kills, fine if whole else 0, note)


def equals_uninterrupted(folder: Path, run: Path) -> tuple[bool, int]:
    """Resume the killed run a last time, stop it, and compare it with a run that was never killed."""
    from training_toy import ToyBatches, quick, same_bits, toy_train

    from mmvideo.training.checkpoint.checkpoints import Checkpoints

    known = (0, Checkpoints(run / "checkpoints").latest, reached(run))
    process = start(run, "--steps", 10**6, "--save-every", SAVE_EVERY)
    wait_until(lambda: reached(run) not in known, process)
    process.send_signal(signal.SIGTERM)
    finish([process])
    steps = Checkpoints(run / "checkpoints").latest

    def stop(row) -> None:
        if row["step"] == steps - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    config = quick(steps=10**6, save_every=10**6, ema=0.9)
    whole = toy_train(folder / "never-killed", config, ToyBatches(), on_progress=stop)
    return same_bits(Checkpoints(run / "checkpoints").restore(abstract(whole), steps), whole), steps


def abstract(state):
    """Return shapes, dtypes and shardings of a state."""
    import jax

    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), state)


def flip_over_and_over(folder: Path, flips: int, chance: random.Random) -> Row:
    """Flip one bit at a time, anywhere in the newest checkpoint, and restore."""
    from training_toy import LONG, ToyBatches, quick, same_bits, toy_train

    from mmvideo.training.checkpoint.checkpoints import Checkpoints, DamagedCheckpoint

    state = toy_train(folder / "flipped", quick(**LONG), ToyBatches())
    checkpoints = Checkpoints(folder / "flipped" / "checkpoints", loud=False)
    newest, before = checkpoints.steps()[-1], checkpoints.restore(abstract(state), checkpoints.steps()[-2])
    place = checkpoints.folder / str(newest)
    files = [path for path in sorted(place.rglob("*")) if path.is_file()]
    files = [path for path in files if str(path.relative_to(place)) not in MARKS and path.stat().st_size]
    sizes, fine = [path.stat().st_size for path in files], 0
    for _ in range(flips):
        path = chance.choices(files, sizes)[0]
        sound = path.read_bytes()
        path.write_bytes(flipped(sound, chance))
        try:
            checkpoints.restore(abstract(state), newest)
            print(f"a flip in {path.relative_to(place)} was not found", file=sys.stderr)
        except DamagedCheckpoint:
            fine += same_bits(checkpoints.restore(abstract(state)), before)
        path.write_bytes(sound)
    if not same_bits(checkpoints.restore(abstract(state)), state):
        fine = 0
    return Row("bit of a checkpoint", flips, fine, f"in {len(files)} files; each found, and step {newest - 2} restored")


def stop_one_of_two(folder: Path, resume: bool = True) -> Row:
    """Send SIGTERM to the second of two processes; both resume, and end like a run that was never stopped."""
    from mmvideo.training.checkpoint.checkpoints import Checkpoints

    stopped, whole = folder / "stopped", folder / "never-stopped"
    settings = ("--steps", 10**6, "--save-every", SAVE_EVERY, "--keep", 10**6)
    processes = pair(stopped, *settings)
    wait_until(lambda: reached(stopped) > 3, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    ends = [words.split("ended at step ")[1].split()[0] for words in finish(processes)]
    at = Checkpoints(stopped / "checkpoints").latest
    if ends != [str(at)] * 2 or not resume:
        return Row("SIGTERM to one of two", 1, int(ends == [str(at)] * 2), f"stopped at {ends}, saved at {at}")
    later = (at // SAVE_EVERY + 1) * SAVE_EVERY
    for workdir in (stopped, whole):
        processes = pair(workdir, *settings)
        wait_until((workdir / "checkpoints" / str(later)).is_dir, processes[0])
        processes[0].send_signal(signal.SIGTERM)
        finish(processes)
    same = digests(stopped, later) == digests(whole, later)
    return Row("SIGTERM to one of two", 1, int(same), f"both stopped at {at}; same bits at {later}: {same}")


def digests(workdir: Path, step: int) -> dict[str, str]:
    """Read a whole checkpoint, verify it, and return the digest of every array."""
    from mmvideo.training.checkpoint.checkpoint_manifest import RECORD, check_files, read_record

    place = workdir / "checkpoints" / str(step)
    for part in ("params", "ema", "variables", "rest"):
        check_files(place, part)
    return {name: array.digest for name, array in read_record(place / RECORD)[0].items()}


def skip_nans(folder: Path, count: int = 5) -> Row:
    """Run steps with NaN in their input, alternating with good steps."""
    import jax
    import numpy as np
    from training_toy import ToyBatches, quick, toy_train

    bad = tuple(range(2, 2 + 3 * count, 3))
    state = toy_train(folder / "nans", quick(steps=3 * count + 3, patience=2), ToyBatches(bad=bad))
    lines = [json.loads(line) for line in (folder / "nans" / "metrics.jsonl").read_text().splitlines()]
    finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    told = [line["step"] - 1 for line in lines if line["train/loss"] is None] == list(bad)
    counted = int(state.skipped) == lines[-1]["skipped_steps"] == count
    return Row("NaN in a step", count, count if finite and told and counted else 0, f"{int(state.skipped)} skipped")


def main() -> int:
    """Run all faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=100, help="of each kind (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    # The messages about all detected damage would fill the screen.
    logging.disable(logging.WARNING)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    chance, began = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        faults = (
            lambda: skip_nans(folder),
            lambda: flip_over_and_over(folder, options.flips, chance),
            lambda: flip_corpus(folder, options.flips, chance),
            lambda: flip_kept(folder, options.flips, chance),
            lambda: flip_records(folder, options.flips, chance),
            lambda: stop_one_of_two(folder),
            lambda: kill_over_and_over(folder, options.kills, chance),
        )
        print(f"{'fault':<24}{'done':>6}{'fine':>6}  what came out", flush=True)
        rows = []
        for fault in faults:
            rows.append(fault())
            print(f"{rows[-1].fault:<24}{rows[-1].done:>6}{rows[-1].fine:>6}  {rows[-1].note}", flush=True)
    print(f"{time.monotonic() - began:.0f} s")
    return 0 if all(row.done == row.fine for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
