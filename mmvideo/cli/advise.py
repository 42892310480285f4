"""`mmvideo data advise CORPUS [--recipe RECIPE] [--split SPLIT] [--json]`."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

ABOUT = "say what a recipe would choose for a corpus (clip length, frames, spectrogram, rows …), and why"


def add_advise(actions: argparse._SubParsersAction) -> None:
    """Add the action to those of `mmvideo data`."""
    advise = actions.add_parser("advise", help=ABOUT)
    advise.add_argument("corpus", help="folder of a corpus, or samples:{film,animations,sounds,all}")
    advise.add_argument(
        "--recipe", help="finetune, pretrain or a recipe (default: finetune where there are labels, else pretrain)"
    )
    advise.add_argument("--split", default="train", help="the training clips (default: train)")
    advise.add_argument("--json", action="store_true", help="print it as JSON")
    advise.set_defaults(run=run_advise)


def run_advise(options: argparse.Namespace) -> int:
    """Print the advice."""
    from mmvideo.cli.importing import quick_imports
    from mmvideo.experiment.input_checks import check_source

    check_source(options.corpus, options.split, "corpus")
    with quick_imports():
        from mmvideo.experiment.choices.advice import advise

    found = advise(options.corpus, options.recipe, options.split)
    if options.json:
        print(json.dumps(dataclasses.asdict(found), indent=2, ensure_ascii=False, default=dataclasses.asdict))
        return 0
    from mmvideo.experiment.choices.fitting import choice_lines

    print("\n".join(_holdings(found.corpus, found.holds)))
    flag = next((one.field for one in found.chosen if one.value is not None), "training.steps")
    print(f"\n{found.recipe} would choose (a flag such as --{flag} chooses otherwise):")
    print("\n".join(choice_lines(found.chosen)))
    if found.cautions:
        print("\nmind:")
        print("\n".join(f"  {caution}" for caution in found.cautions))
    print(f"\n{found.command}")
    return 0


def _holdings(corpus: str, holds: dict[str, Any]) -> list[str]:
    """Return the contents of a corpus as lines."""
    others = ", ".join(f"{count:,} {split}" for split, count in holds["splits"].items())
    media = {"video": "with_video", "audio": "with_audio", "captions": "with_captions"}
    lines = [f"{corpus}: {others}"]
    lines.append("  clips with " + ", ".join(f"{name} {holds[key]:,}" for name, key in media.items()))
    measures = {"seconds": "seconds", "shorter side": "shorter_side", "frames a second": "frames_a_second"}
    for name, key in measures.items():
        if key in holds:
            low, middle, high = holds[key].values()
            lines.append(f"  {name} {low:g} to {high:g}, median {middle:g}")
    for kind, label in holds["labels"].items():
        if label["sort"] == "number":
            lines.append(f"  {kind}: a number")
            continue
        counts = label["clips"].values()
        sort = "one class a clip" if label["sort"] == "single" else "several classes a clip"
        lines.append(f"  {kind}: {sort}, {len(counts)} classes of {min(counts)} to {max(counts)} clips")
    return lines
