"""Turns what a parser has against an argument into one line that helps."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import io
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")


class UsageError(ValueError):
    """The arguments of a command are wrong: what, and what to write instead."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are a `UsageError` of one line."""

    def error(self, message: str) -> NoReturn:
        """Raises what argparse would print."""
        raise UsageError(f"{message}; see {self.prog} --help")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`": did you mean 'x'?"` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean '{near[0]}'?)" if near else ""


def take_first(arguments: Sequence[str], usage: str, what: str) -> tuple[str, list[str]]:
    """Takes the first argument, which must be no flag; gives it and the rest.

    Args:
      arguments: of the command.
      usage: how the command begins, such as `mmvideo train CONFIG`.
      what: the argument is, such as `a recipe`.

    Raises:
      UsageError: there is none, or a flag stands in its place.
    """
    verb = " ".join(usage.split()[:2])
    if not arguments:
        raise UsageError(f"{what} is missing: {usage} …; see {verb} --help")
    if arguments[0].startswith("-"):
        raise UsageError(f"{what} comes first: {usage} …, not {arguments[0]}; see {verb} --help")
    return arguments[0], list(arguments[1:])


def take_value(arguments: Sequence[str], flag: str, what: str) -> tuple[str | None, list[str]]:
    """Takes `FLAG VALUE` or `FLAG=VALUE` out of the arguments; gives the value, None without one, and the rest.

    Raises:
      UsageError: the flag has no value; `what` says which is missing.
    """
    rest, value = [], None
    waiting = iter(arguments)
    for argument in waiting:
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
    """Return the number that a flag gives, 1 or more.

    Raises:
      UsageError: it is none; `what` says of what.
    """
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"{flag} {text} must be a number of {what}, 1 or more")
    return int(text)


def parse_step(text: str | None) -> int | str | None:
    """The step that a `--step` names: a number, or `best`; None where there is no such flag.

    Raises:
      UsageError: neither.
    """
    if text is None or text == "best":
        return text
    if text.isdigit():
        return int(text)
    raise UsageError(f"--step {text} must be the step of a checkpoint, or best")


def parse_fields(default: T, arguments: Sequence[str], prog: str) -> T:
    """A copy of the dataclass `default` in which flags such as `--training.steps 50` have changed fields.

    Raises:
      UsageError: a field that doesn't exist (with the nearest that does), or a value of the wrong kind.
    """
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parsed, unknown = tyro.cli(
                type(default),
                default=default,
                args=list(arguments),
                prog=prog,
                return_unknown_args=True,
                config=(tyro.conf.AvoidSubcommands, tyro.conf.FlagConversionOff),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(f"{_plain(said.getvalue())}; see {prog} --help") from None
    if unknown:
        flag = unknown[0].split("=")[0]
        near = did_you_mean(flag.lstrip("-"), fields(default))
        raise UsageError(f"there is no field '{flag.lstrip('-')}'{near}; {prog} --help lists them")
    return parsed


def fields(value: Any, prefix: str = "") -> list[str]:
    """Dotted names of every field of a nest of dataclasses, dicts and tuples."""
    import dataclasses

    if dataclasses.is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, dict) and value:
        items = list(value.items())
    elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return [prefix]
    names = [name for key, item in items for name in fields(item, f"{prefix}.{key}" if prefix else key)]
    return [name.replace("_", "-") for name in names]


def _plain(boxed: str) -> str:
    """The words of a message that was drawn in a box."""
    lines = (line.strip("│╭╮╰╯─ ") for line in boxed.splitlines())
    titles = ("Parsing error", "Value error", "Invalid choice", "For full helptext", "usage:")
    words = " ".join(line for line in lines if line and not line.startswith(titles))
    return words.split(" Argument helptext:")[0].rstrip(".")
