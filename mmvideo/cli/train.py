"""`mmvideo train CONFIG [--workdir DIR] [--profile STEPS] [--field.path VALUE …]`."""

from __future__ import annotations

from pathlib import Path

ABOUT = """usage: mmvideo train CONFIG [--workdir DIR] [--profile STEPS] [--field.path VALUE …]

Train the experiment that CONFIG defines: a Python file (recipe.py:tiny selects its experiment `tiny`), a
workdir or its config.json.
The same command resumes a stopped run. `mmvideo train CONFIG --help` lists every field.
A resumed run needs the corpora that it was trained on; give the new path of a corpus that was moved:
--input.sources.0.path FOLDER.

  --workdir DIR   folder of the run (default: runs/NAME)
  --profile STEPS trace this many steps, from the third after the start, into WORKDIR/profile,
                  for TensorBoard and Perfetto
"""


def main(arguments: list[str]) -> int:
    """Parse, resolve the experiment and run it."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(ABOUT, end="")
        return 0
    from mmvideo.cli.importing import quick_imports
    from mmvideo.cli.terminal.field_names import check_flags
    from mmvideo.cli.terminal.usage_errors import count_of, parse_fields, take_first, take_value
    from mmvideo.experiment.find_config import find_config

    config, rest = take_first(arguments, "mmvideo train CONFIG", "a recipe")
    folder, rest = take_value(rest, "--workdir", "a folder")
    steps, rest = take_value(rest, "--profile", "a number of steps")
    profile = None if steps is None else count_of("--profile", steps, "steps")
    find_config(config)
    check_flags(rest, f"mmvideo train {config}")
    from mmvideo.experiment.input_checks import check_inputs, check_platform

    with quick_imports():
        check_platform()
        from mmvideo.experiment.config import load_experiment

        experiment = parse_fields(load_experiment(config), rest, f"mmvideo train {config}")
    # A workdir as CONFIG resumes in place; a recipe trains in runs/NAME.
    workdir = Path(folder or (config if Path(config).is_dir() else Path("runs") / experiment.name))
    check_inputs(experiment, workdir)
    from mmvideo.experiment.choices.fitting import given_fields
    from mmvideo.experiment.run import run

    return run(experiment, workdir, given_fields(rest), profile)
