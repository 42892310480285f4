"""A workdir has one owner: a second run is refused, a dead one's place is taken, a sleeper that wakes up ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from training_toy import ToyBatches, quick, toy_train

from mmvideo.training.workdir import WorkdirError
from mmvideo.training.workdir_owner import OWNER, Owner

HOLD = """
import sys, time
from pathlib import Path
from mmvideo.training.workdir_owner import Owner
with Owner(Path(sys.argv[1]), beat=0.1):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(workdir: Path) -> subprocess.Popen:
    """Another process that owns the workdir."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(workdir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def elsewhere(workdir: Path, **changes) -> dict:
    """Makes the file say that its owner is on another host."""
    told = json.loads((workdir / OWNER).read_text()) | {"host": "far", "space": "another boot"} | changes
    (workdir / OWNER).write_text(json.dumps(told))
    return told


def test_the_file_tells_who_it_is_and_goes_with_the_run(tmp_path):
    with Owner(tmp_path / "run") as owner:
        told = json.loads((tmp_path / "run" / OWNER).read_text())
        assert told["pid"] == os.getpid() and told["host"]
        owner.check(now=True)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_second_run_is_refused_and_the_first_goes_on(tmp_path):
    process = hold(tmp_path)
    try:
        with pytest.raises(WorkdirError, match=rf"process {process.pid} on .* trains in .*remove .*{OWNER}"):
            toy_train(tmp_path, quick(steps=2), ToyBatches())
        assert process.poll() is None
        assert [path.name for path in tmp_path.iterdir()] == [OWNER], "nothing was written"
    finally:
        process.kill()
        process.wait()


def test_a_killed_owner_of_this_host_is_followed_at_once(tmp_path, capsys):
    process = hold(tmp_path)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # Dead, though its parent hasn't buried it yet.
    began = time.monotonic()
    with Owner(tmp_path, patience=30):
        assert time.monotonic() - began < 10
    assert "is dead: taken over" in capsys.readouterr().err
    process.wait()
    assert int(toy_train(tmp_path, quick(steps=3), ToyBatches()).step) == 3


def test_a_number_that_another_process_has_by_now_is_no_owner(tmp_path, capsys):
    process = hold(tmp_path)
    process.kill()
    process.wait()
    told = json.loads((tmp_path / OWNER).read_text())
    (tmp_path / OWNER).write_text(json.dumps(told | {"pid": os.getpid()}))  # It began at another time.
    with Owner(tmp_path, patience=30):
        pass
    assert "is dead: taken over" in capsys.readouterr().err


def test_an_owner_elsewhere_that_gives_heartbeats_stays(tmp_path):
    process = hold(tmp_path)
    try:
        alive = threading.Event()

        def beat():  # What the owner on the other host does.
            while not alive.wait(0.2):
                os.utime(tmp_path / OWNER)

        process.send_signal(signal.SIGSTOP)
        elsewhere(tmp_path)
        thread = threading.Thread(target=beat)
        thread.start()
        with pytest.raises(WorkdirError, match="on far trains in"), Owner(tmp_path, patience=20):
            pass
        alive.set()
        thread.join()
    finally:
        process.kill()
        process.wait()


def test_an_owner_elsewhere_without_heartbeats_is_followed_and_said(tmp_path, capsys):
    with Owner(tmp_path, beat=60):
        told = elsewhere(tmp_path)
        with Owner(tmp_path, patience=1.5) as owner:
            assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
            owner.check(now=True)
        said = capsys.readouterr().err
    assert f"process {told['pid']} on far owns" in said and "waiting up to 2 s" in said
    assert "has given no sign of life for 2 s: taken over" in said


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"host": 3, "pid": "x"}', b"[]"])
def test_a_file_that_cannot_be_read_is_waited_for(tmp_path, content):
    (tmp_path / OWNER).write_bytes(content)
    with Owner(tmp_path, patience=0.5) as owner:
        owner.check(now=True)


def test_one_of_several_takes_over(tmp_path):
    process = hold(tmp_path)
    process.kill()
    process.wait()
    winners, losers, ready = [], [], threading.Barrier(6)
    done = threading.Event()

    def take() -> None:
        ready.wait()
        try:
            with Owner(tmp_path, patience=5):
                winners.append(threading.get_ident())
                done.wait(10)
        except WorkdirError as error:
            losers.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(losers) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    done.set()
    for thread in threads:
        thread.join()
    assert (len(winners), len(losers)) == (1, 5)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_lost_its_workdir_ends_before_it_saves(tmp_path):
    taken = {}

    def take(row) -> None:
        if row["step"] == 3 and not taken:
            taken.update(elsewhere(tmp_path, token="other"))

    with pytest.raises(WorkdirError, match="process .* on far has taken over"):
        toy_train(tmp_path, quick(steps=6, save_every=2), ToyBatches(), on_progress=take)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()) == ["2"]
    assert json.loads((tmp_path / OWNER).read_text()) == taken, "the file is its new owner's"


def test_a_run_whose_file_was_removed_ends(tmp_path):
    def remove(row) -> None:
        (tmp_path / OWNER).unlink(missing_ok=True)

    with pytest.raises(WorkdirError, match=f"{OWNER} was removed"):
        toy_train(tmp_path, quick(steps=4, save_every=2), ToyBatches(), on_progress=remove)


def test_a_killed_run_resumes_without_a_wait(tmp_path):
    toy = Path(__file__).with_name("training_toy.py")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_NUM_CPU_DEVICES": "1"}
    command = [sys.executable, str(toy), str(tmp_path), "--steps", "6", "--save-every", "2"]
    done = subprocess.run([*command, "--kill-at", "5"], env=environment, capture_output=True, timeout=300)
    assert done.returncode == -signal.SIGKILL and (tmp_path / OWNER).exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "ended at step 6" in done.stdout, done.stderr
    assert "is dead: taken over" in done.stderr and not (tmp_path / OWNER).exists()
