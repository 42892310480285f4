"""`mmvideo VERB …`: find the verb, run it, and turn a user's mistake into one line and exit code 2."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys

from mmvideo.cli.terminal.huge_pages import begin_with_huge_pages
from mmvideo.cli.terminal.streams import leave_quietly, outlive_readers, reader_is_gone, take_any_text

VERBS: dict[str, tuple[str, str]] = {
    # verb: (module, what it does)
    "plan": ("mmvideo.cli.plan", "plan what a recipe needs: tokens, parameters, FLOPs, bytes"),
    "doctor": ("mmvideo.cli.doctor", "check these machines for a run: versions, flags, devices, storage, corpora"),
    "train": ("mmvideo.cli.train", "train a recipe, or resume a stopped run"),
    "ablate": ("mmvideo.cli.ablate", "run an ablation suite: its cells, tables and plots"),
    "eval": ("mmvideo.cli.evaluate", "evaluate a run's newest checkpoint, or another"),
    "predict": ("mmvideo.cli.predict", "write a trained model's embeddings of clips"),
    "export": ("mmvideo.cli.export", "write a trained model for inference: parameters alone"),
    "report": ("mmvideo.cli.report", "write a run's report.html again"),
    "compare": ("mmvideo.cli.compare", "compare runs: config differences, metrics, cost"),
    "data": ("mmvideo.cli.data", "build, show and generate corpora"),
}

OUTLIVE = ("train", "ablate", "eval", "predict", "export", "report", "data")
"""Verbs that write files: they continue when nobody reads their output any more (`| head`)."""

USAGE = """usage: mmvideo VERB …

One transformer for video, audio and text, in JAX and Flax.

verbs:
{verbs}

`mmvideo VERB --help` explains a verb. MMVIDEO_DEBUG=1 shows the whole traceback of an error.
"""


def usage() -> str:
    """Return the text of `mmvideo --help`."""
    return USAGE.format(verbs="\n".join(f"  {verb:<8} {about}" for verb, (_, about) in VERBS.items()))


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 for a failed run, 2 for a mistake in the arguments.

    Training has two more: 3 if it was asked to stop and can be resumed, 75 if it hung and its watchdog ended it, so
    that a scheduler restarts it. A command whose reader has closed the pipe (`| head`) ends with 141, except those of
    `OUTLIVE`.
    """
    if arguments is None:
        begin_with_huge_pages(sys.argv[1:])
    take_any_text()
    try:
        code = _command(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
        return code
    except SystemExit:  # From argparse and tyro, after printing their help.
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        if reader_is_gone(sys.stdout):
            leave_quietly()
        raise
    except BrokenPipeError:
        # A broken pipe of a command's own, such as to a worker process, is an error like any other.
        if not (reader_is_gone(sys.stdout) or reader_is_gone(sys.stderr)):
            raise
        return leave_quietly()


def _command(arguments: list[str]) -> int:
    """Find the verb and run it."""
    # Threads prepare clips side by side, one per core: more threads inside linear algebra would only compete with them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if not arguments:
        print(usage(), end="", file=sys.stderr)
        return 2
    if arguments[0] in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if arguments[0] == "--version":
        from mmvideo import __version__

        print(f"mmvideo {__version__}")
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        from mmvideo.cli.terminal.usage_errors import did_you_mean

        print(f"mmvideo: there is no verb '{verb}'{did_you_mean(verb, VERBS)}; see mmvideo --help", file=sys.stderr)
        return 2
    if verb in OUTLIVE and not {"-h", "--help"} & set(rest):
        outlive_readers()
    return _run(verb, rest)


def _run(verb: str, rest: list[str]) -> int:
    """Run a verb; errors that users can cause derive from ValueError or OSError and become one line."""
    try:
        return importlib.import_module(VERBS[verb][0]).main(rest) or 0
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError) and (reader_is_gone(sys.stdout) or reader_is_gone(sys.stderr)):
            raise
        if os.environ.get("MMVIDEO_DEBUG"):
            raise
        print(f"mmvideo {verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"mmvideo {verb}: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
