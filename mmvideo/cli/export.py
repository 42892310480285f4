"""`mmvideo export WORKDIR OUT [--step STEP|best] [--dtype bfloat16]`."""

from __future__ import annotations

from pathlib import Path

from mmvideo.cli.terminal.usage_errors import Parser, parse_step

ABOUT = """Write a trained model for inference: parameters alone (their average where one was kept), settings,
tokenizer, statistics and class names, with digests. `mmvideo.load(OUT)`, `mmvideo eval OUT`, `mmvideo predict
embed OUT` and `training.init_from` open it as they open a run."""


def main(arguments: list[str]) -> int:
    """Parse and export."""
    parser = Parser(prog="mmvideo export", description=ABOUT)
    parser.add_argument("workdir", type=Path, help="folder of the run")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument("--step", help="a step, or best (default: the newest checkpoint)")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the matrices (default: float32)"
    )
    options = parser.parse_args(arguments)
    step = parse_step(options.step)
    from mmvideo.experiment.find_config import find_run

    find_run(options.workdir)
    from mmvideo.experiment.weights.export import export
    from mmvideo.training.checkpoint.storage_errors import size_in_words

    made = export(options.workdir, options.out, step, options.dtype)
    average = f", {made.average} average" if made.average else ""
    print(
        f"{options.out}: step {made.step} of {made.run}{average}; {made.numbers:,} elements in {made.arrays} arrays, "
        f"matrices in {made.dtype}, {size_in_words(made.bytes)}"
    )
    return 0
