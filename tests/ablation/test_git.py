"""When a file of the checkout was last changed, against a repository whose history is known."""

from __future__ import annotations

import os
import subprocess

import pytest

from mmvideo.ablation import git


@pytest.fixture
def history(tmp_path, monkeypatch) -> list[str]:
    """Three commits, an hour apart; the second leaves the file alone."""
    monkeypatch.setattr(git, "__file__", str(tmp_path / "package" / "checkout.py"))
    (tmp_path / "package").mkdir()
    commits = []
    for hour, text in ((9, "first"), (10, "first"), (11, "second")):
        (tmp_path / "suite.py").write_text(text)
        date = f"2026-01-02T{hour:02}:30:00+02:00"
        who = {f"GIT_{role}_{what}": "a" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        environment = os.environ | who | {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
        for words in (["init", "-q"], ["add", "."], ["commit", "-qm", str(hour), "--allow-empty"]):
            subprocess.run(["git", *words], cwd=tmp_path, env=environment, check=True)
        commits.append(git.commit())
    return commits


def test_the_last_change_before_a_run_is_told(history):
    first, second, third = (git.last_change("suite.py", commit) for commit in history)
    assert first == second == f"2026-01-02 07:30 UTC ({history[0]})"
    assert third == f"2026-01-02 09:30 UTC ({history[2]})"


def test_nothing_is_told_of_changed_files_or_without_a_checkout(history, tmp_path, monkeypatch):
    (tmp_path / "suite.py").write_text("changed")
    assert git.commit() == history[2] + "+" and git.last_change("suite.py", git.commit()) == ""
    assert git.last_change("suite.py", "0000000") == "" == git.last_change("suite.py", "")
    monkeypatch.setattr(git, "__file__", "/nowhere/checkout.py")
    assert git.commit() == ""
