"""Budgets of a row: the number of tokens of each modality that it may hold.

The config sets `L` and `E`. The other budgets follow from the corpus where the config leaves them open. Each is in
proportion to the needs of the clips, has as little slack as still lets `L` be the limiting budget, and holds at least
the largest clip. Unused slots of `L` are expensive, because they pass through every layer; unused slots of a modality
are only moved and embedded.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from mmvideo.input.config import Packing
from mmvideo.input.planning.packer import pack
from mmvideo.input.planning.token_counts import TOKEN_BUDGETS

_SLACKS = (1.04, 1.08, 1.12, 1.16, 1.2, 1.3, 1.4, 1.6, 1.8, 2.2, 3.0, 5.0, np.inf)
_LOSS = 0.005
"""Largest share of the token slots that tight budgets may leave empty."""

_SAMPLE = 2048
"""Number of clips from which the budgets are derived."""


def grow_packing(largest: Int[np.ndarray, " 9"], packing: Packing) -> Packing:
    """Return a packing whose rows hold the largest clip, whatever the config says."""
    need = dict(zip(TOKEN_BUDGETS, largest.tolist(), strict=True))
    limits = {name: getattr(packing, name) for name in ("tokens", "video", "audio", "text")}
    wider = {name: max(limit, need[name]) for name, limit in limits.items() if limit is not None}
    return dataclasses.replace(packing, **wider)


def choose_budgets(
    sizes: Int[np.ndarray, "n 9"],
    largest: Int[np.ndarray, " 9"],
    packing: Packing,
    describe: Callable[[int], str],
) -> Int[np.ndarray, " 9"]:
    """Return the budgets of a row in the order of `TOKEN_BUDGETS`.

    Args:
      sizes: needs of clips, in packing order.
      largest: the largest need of any clip with any of its captions.
      packing: the settings.
      describe: names the clip with the largest need of a column, for the error message.

    Raises:
      ValueError: no row can hold some clip; the message names the setting to change.
    """
    fixed = _fixed(packing)
    # Budgets that the config leaves open grow to the largest clip, so only fixed ones can be too small.
    for column, name in enumerate(TOKEN_BUDGETS):
        if largest[column] > fixed.get(name, largest[column]):
            raise ValueError(
                f"{describe(column)} needs {largest[column]} {name if name == 'tokens' else name + ' tokens'}, but "
                f"input.packing.{name} is {fixed[name]}; raise input.packing.{name} to {largest[column]} or more, "
                "or make views smaller (input.video.frames, input.video.size, input.audio.seconds, input.text.length)"
            )
    sample = sizes[:_SAMPLE]
    choices = [_with_slack(sample, largest, fixed, slack) for slack in _SLACKS]
    filled = [_fill(sample, budget) for budget in choices]
    # Slacks increase, so the first choice near the best fill is the smallest. Example: fills [0.90, 0.957, 0.96] and a
    # permitted loss of 0.005 select the second.
    return next(budget for budget, full in zip(choices, filled, strict=True) if full >= max(filled) - _LOSS)


def widest_budgets(
    sizes: Int[np.ndarray, "n 9"], largest: Int[np.ndarray, " 9"], packing: Packing
) -> Int[np.ndarray, " 9"] | None:
    """Return budgets limited by nothing but the config itself; None if a clip fits no row.

    Rows are as full as with the result of `choose_budgets`, except for the loss permitted there. A single packing
    then measures the fill.
    """
    fixed = _fixed(packing)
    if any(largest[TOKEN_BUDGETS.index(name)] > value for name, value in fixed.items()):
        return None
    return _with_slack(sizes, largest, fixed, np.inf)


def enforce_minimum(
    budget: Int[np.ndarray, " 9"],
    largest: Int[np.ndarray, " 9"],
    modalities: Sequence[str],
    hidden: Mapping[str, float],
) -> Int[np.ndarray, " 9"]:
    """Return budgets with slots for every modality of the run, also for one that no clip of this corpus has.

    Args:
      budget: the chosen budgets.
      largest: the largest need of any clip.
      modalities: the modalities of the run.
      hidden: share of hidden tokens, by modality; only modalities with hidden tokens.

    Raises:
      ValueError: a share is so small that it hides no token.
    """
    budget = budget.copy()
    for name in modalities:
        column = TOKEN_BUDGETS.index(name)
        budget[column] = max(budget[column], 8)
        if name in hidden:
            masked = TOKEN_BUDGETS.index(f"{name}_hidden")
            if largest[column] and not largest[masked]:
                raise ValueError(f"input.masking.{name}={hidden[name]} hides not one token of any clip; raise it")
            budget[masked] = max(budget[masked], 8)
    return budget


def fill(sizes: Int[np.ndarray, "n 9"], rows: int, budget: Int[np.ndarray, " 9"]) -> Float[np.ndarray, " 9"]:
    """Return the used share of each budget when the clips fill this many rows; 0 for an empty budget."""
    return sizes.sum(axis=0) / np.maximum(rows * budget, 1)


def _fixed(packing: Packing) -> dict[str, int]:
    """Return the budgets that the config sets."""
    given = {name: value for name in ("video", "audio", "text") if (value := getattr(packing, name)) is not None}
    return {"tokens": packing.tokens, "clips": packing.clips, **given}


def _fill(sizes: np.ndarray, budget: np.ndarray) -> float:
    rows = int(pack(sizes, budget).max(initial=-1)) + 1
    return float(fill(sizes, rows, budget)[0])


def _with_slack(sizes: np.ndarray, largest: np.ndarray, fixed: dict[str, int], slack: float) -> np.ndarray:
    """Return budgets with this slack over the clips' proportions, at most what a row can ever use."""
    tokens, clips = fixed["tokens"], fixed["clips"]
    total = sizes.sum(axis=0)
    # Rows are as full as the budget that binds lets them be: the tokens or the clip slots.
    rows = max(total[0] / tokens, total[1] / clips, 1)
    # A row has `clips` clips at most, each no larger than the largest. Encoded tokens (columns 2 to 4) also fit `L`.
    most = largest * clips
    most[2:5] = np.minimum(most[2:5], tokens)
    # Example: 900 video tokens in 3 rows with slack 1.04 need 312 slots a row; a largest clip of 400 raises this to
    # 400.
    need = np.minimum(np.maximum(np.where(total > 0, slack, 1) * total / rows, largest), most)
    budget = (np.ceil(need / 8) * 8).astype(np.int64)
    for name, value in fixed.items():
        budget[TOKEN_BUDGETS.index(name)] = value
    # The decoder's row holds encoded and hidden patches of video (2, 5) and audio (3, 6), never text.
    encoded_and_hidden = budget[2] + budget[3] + budget[5] + budget[6]
    budget[8] = min(budget[8], encoded_and_hidden)
    return budget
