"""Settings of text generation: the choice of the next token, and the end of a text."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Decoding:
    """Settings of text generation.

    Attributes:
      method: Search method: `greedy` takes the likeliest token each time, `beam` keeps the likeliest partial texts,
        `sample` draws.
      beams: Number of partial texts that `beam` keeps.
      length_penalty: Exponent `alpha` of `beam`, which ranks texts by `log p / ((5 + length) / 6)^alpha` (Wu et al.
        2016, eq. 14). 0 ranks by probability, higher values favour long texts. The length counts the generated tokens,
        with the end mark.
      temperature: Divisor of the logits for `sample`.
      top_k: Number of likeliest tokens that `sample` draws from. None draws from all.
      top_p: Probability mass that `sample` draws from: the fewest likeliest tokens whose probabilities sum to it
        (nucleus sampling, Holtzman et al. 2020, section 3.1), after temperature and `top_k`. None draws from all.
      length: Largest number of tokens of a text, with its marks and its prompt. None is the `length` of the run's
        texts, beyond which no model was trained.
      shortest: Smallest number of generated tokens before the end mark.
      without_media: True to generate texts also for clips without the captioned media.
      seed: Random seed of `sample` where no key is given.
    """

    method: Literal["greedy", "beam", "sample"] = "greedy"
    beams: int = 4
    length_penalty: float = 0.0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    length: int | None = None
    shortest: int = 0
    without_media: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.beams < 1:
            raise ValueError(f"decoding.beams is {self.beams}: keep at least 1")
        if self.length_penalty < 0:
            raise ValueError(f"decoding.length_penalty {self.length_penalty} must be 0 or more")
        if not self.temperature > 0:
            raise ValueError(f"decoding.temperature {self.temperature} must be above 0; for the likeliest, use greedy")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"decoding.top_k is {self.top_k}: leave at least 1 token, or None for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"decoding.top_p {self.top_p} must be in (0, 1], or None for all tokens")
        if self.length is not None and self.length < 2:
            raise ValueError(f"decoding.length is {self.length}: a text has a begin mark and 1 token or more")
        if self.shortest < 0:
            raise ValueError(f"decoding.shortest is {self.shortest}: it must be 0 or more")
        self._check_unused()

    @property
    def texts(self) -> int:
        """Number of texts of a clip that are generated in parallel."""
        return self.beams if self.method == "beam" else 1

    def _check_unused(self) -> None:
        """Refuse a setting that the method ignores."""
        # Defaults are accepted with any method: only a value that was changed can be a mistake.
        sampled = {"temperature": 1.0, "top_k": None, "top_p": None}
        for method, settings in {"sample": sampled, "beam": {"length_penalty": 0.0}}.items():
            for name, unset in settings.items():
                if self.method != method and getattr(self, name) != unset:
                    raise ValueError(
                        f"decoding.{name} is for decoding.method {method}, not {self.method}: set one of the two"
                    )
