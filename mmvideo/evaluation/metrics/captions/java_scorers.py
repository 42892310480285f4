"""METEOR and SPICE by their reference programs in Java, as optional metrics.

METEOR (Denkowski and Lavie 2014) needs synonym and paraphrase tables, SPICE (Anderson et al. 2016) a parser. Neither is
reimplemented, because values are comparable only if they come from these programs. Name the jars by argument or by the
environment variables `MMVIDEO_METEOR_JAR` and `MMVIDEO_SPICE_JAR`. `meteor-1.5.jar` needs `data/paraphrase-en.gz` in
its folder; `spice-1.0.jar` needs `lib/` with Stanford CoreNLP 3.6.0 and its models in its folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float

METEOR_VARIABLE, SPICE_VARIABLE = "MMVIDEO_METEOR_JAR", "MMVIDEO_SPICE_JAR"
_WHERE = {
    METEOR_VARIABLE: "`pip install pycocoevalcap` brings it as pycocoevalcap/meteor/meteor-1.5.jar",
    SPICE_VARIABLE: "`pip install pycocoevalcap` brings it as pycocoevalcap/spice/spice-1.0.jar and its "
    "get_stanford_models.py fetches the models",
}


def jar(path: str | Path | None, variable: str) -> Path | None:
    """Return the jar of the argument, else of the environment variable, else None: the metric is then left out.

    Raises:
      ValueError: A named jar does not exist, or there is no `java`.
    """
    named = path or os.environ.get(variable)
    if not named:
        return None
    found = Path(named).resolve()
    if not found.is_file():
        raise ValueError(f"no jar at {named}: set {variable} to one; {_WHERE[variable]}")
    if shutil.which("java") is None:
        raise ValueError(
            f"{found.name} needs Java 8 or newer, but no `java` is on the PATH: install one or unset {variable}"
        )
    return found


class Meteor:
    """METEOR 1.5 for English, normalised, as the COCO caption evaluation runs it; a context holds one process.

    The line protocol of `-stdio`: `SCORE ||| reference ||| … ||| caption` returns counts; `EVAL ||| counts ||| …`
    returns a score for each of the counts, and one for their sum.
    """

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> Meteor:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        # One process for all clips, because Java and the paraphrase table are slow to load.
        self._process = subprocess.Popen(
            ["java", "-Xmx2G", "-Dfile.encoding=UTF-8", "-jar", self._path, "-", "-", "-stdio", "-l", "en", "-norm"],
            cwd=self._path.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, encoding="utf-8",
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def score(
        self, predicted: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
    ) -> tuple[float, Float[np.ndarray, "n"]]:
        """Return METEOR of all captions (words) together, from summed counts, and of each by itself, in [0, 1].

        Raises:
          RuntimeError: The program ended or gave an unexpected reply.
        """
        counts = []
        for caption, its in zip(predicted, references, strict=True):
            self._say(" ||| ".join(["SCORE", *(" ".join(reference) for reference in its), " ".join(caption)]))
            counts.append(self._hear())
        if not counts:
            return 0.0, np.zeros(0)
        self._say(" ||| ".join(["EVAL", *counts]))
        # One value a clip, then the value of the corpus.
        values = [float(self._hear()) for _ in range(len(counts) + 1)]
        return values[-1], np.array(values[:-1])

    def _say(self, line: str) -> None:
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise RuntimeError(self._ended()) from None

    def _hear(self) -> str:
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError(self._ended())
        return line

    def _ended(self) -> str:
        self._errors.seek(0)
        said = self._errors.read().strip().splitlines()
        return f"{self._path.name} ended without a reply: {said[0] if said else 'it printed no error'}"


def spice(
    predicted: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]], path: Path
) -> Float[np.ndarray, "n"]:
    """Return SPICE (F-score over scene graphs) of each clip, NaN if undefined; a corpus has the mean of the rest."""
    clips = [
        {"image_id": number, "test": " ".join(caption), "refs": [" ".join(reference) for reference in its]}
        for number, (caption, its) in enumerate(zip(predicted, references, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        asked, answer = Path(folder, "captions.json"), Path(folder, "scores.json")
        asked.write_text(json.dumps(clips), encoding="utf-8")
        done = subprocess.run(
            ["java", "-Xmx8G", "-jar", path, asked, "-cache", folder, "-out", answer, "-subset", "-silent"],
            cwd=path.parent, capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if done.returncode or not answer.is_file():
            said = done.stderr.strip().splitlines()
            raise RuntimeError(
                f"{path.name} failed: {said[0] if said else f'exit code {done.returncode}'}; {_WHERE[SPICE_VARIABLE]}"
            )
        scores = {item["image_id"]: item["scores"]["All"]["f"] for item in json.loads(answer.read_text("utf-8"))}
    return np.array([np.nan if scores[n] is None else float(scores[n]) for n in range(len(clips))])
