"""Errors of argument parsers as one helpful line."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class UsageError(ValueError):
    """An error in the arguments of a command; the message says what to write instead."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are a `UsageError` of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise the message that argparse would print."""
        raise UsageError(f"{message}; see {self.prog} --help")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` for the most similar known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def take_first(arguments: Sequence[str], usage: str, what: str) -> tuple[str, list[str]]:
    """Split off the first argument, which must not be a flag.

    Args:
      arguments: arguments of the command.
      usage: beginning of the command, such as `mmvideo train CONFIG`.
      what: the expected argument, such as `a recipe`.

    Returns:
      The first argument and the rest.

    Raises:
      UsageError: no argument, or a flag in its place.
    """
    verb = " ".join(usage.split()[:2])
    if not arguments:
        raise UsageError(f"{what} is missing: {usage} …; see {verb} --help")
    if arguments[0].startswith("-"):
        raise UsageError(f"{what} comes first: {usage} …, not {arguments[0]}; see {verb} --help")
    return arguments[0], list(arguments[1:])


def take_value(arguments: Sequence[str], flag: str, what: str) -> tuple[str | None, list[str]]:
    """Split `FLAG VALUE` or `FLAG=VALUE` off the arguments; return the value, or None, and the rest.

    Raises:
      UsageError: the flag has no value; `what` describes the missing one.
    """
    rest, value = [], None
    waiting = iter(arguments)
    for argument in waiting:
        # --step 5 and --step=5 mean the same; given twice, the last one counts.
        if argument == flag:
            value = next(waiting, None)
            if value is None:
                raise UsageError(f"{flag} needs {what}")
        elif argument.startswith(f"{flag}="):
            value = argument.split("=", 1)[1]
        else:
            rest.append(argument)
    return value, rest


def count_of(flag: str, text: str, what: str) -> int:
    """Return the number of a flag, 1 or more.

    Raises:
      UsageError: no such number; `what` names the counted things.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"{flag} {text} must be a number of {what}, 1 or more")
    return int(text)


def parse_step(text: str | None) -> int | str | None:
    """Return the checkpoint of a `--step`: a number, `best`, or None without the flag.

    Raises:
      UsageError: another value.
    """
    if text is None or text == "best":
        return text
    if text.isdigit():
        return int(text)
    raise UsageError(f"--step {text} must be the step of a checkpoint, or best")


def parse_fields(default: T, arguments: Sequence[str], prog: str) -> T:
    """Return a copy of the dataclass `default` with fields changed by flags such as `--training.steps 50`.

    Raises:
      UsageError: an unknown field, with the most similar one, or an invalid value.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            # tyro prints its errors in a box and exits: the text is captured and becomes one line.
            parsed, unknown = tyro.cli(
                type(default),
                default=default,
                args=list(arguments),
                prog=prog,
                return_unknown_args=True,
                # Unions such as a model or a baseline become flags, not subcommands; booleans take True or False.
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(f"{_plain(said.getvalue())}; see {prog} --help") from None
    if unknown:
        # Only the first: later ones are often its values.
        flag = unknown[0].split("=")[0]
        near = did_you_mean(flag.lstrip("-"), fields(default))
        raise UsageError(f"there is no field '{flag.lstrip('-')}'{near}; {prog} --help lists them")
    return parsed


def fields(value: Any, prefix: str = "") -> list[str]:
    """Return the dotted names of all fields of nested dataclasses, dicts and tuples."""
    import dataclasses

    if dataclasses.is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, dict) and value:
        items = list(value.items())
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return [prefix]
    # Experiment(input=Input(video=Video(fps=…))) gives input.video.fps; tyro writes underscores as dashes.
    names = [name for key, item in items for name in fields(item, f"{prefix}.{key}" if prefix else key)]
    return [name.replace("_", "-") for name in names]


def _plain(boxed: str) -> str:
    """Return the text of a message that was printed in a box."""
    # "│ Argument --training.steps: invalid int value │" loses its frame; the title of the box is dropped below.
    lines = (line.strip("│╭╮╰╯─ ") for line in boxed.splitlines())
    titles = ("Parsing error", "Value error", "Invalid choice", "For full helptext", "usage:")
    words = " ".join(line for line in lines if line and not line.startswith(titles))
    return words.split(" Argument helptext:")[0].rstrip(".")
