"""Settings of writing text: how the next piece is chosen, and when a text ends."""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How a text is written.

    Attributes:
      method: `greedy` takes the likeliest piece each time, `beam` keeps the likeliest beginnings, `sample` draws.
      beams: beginnings that `beam` keeps.
      length_penalty: `alpha` of `beam`, which ranks texts by `log p / ((5 + length) / 6)^alpha` (Wu et al. 2016,
        eq. 14); 0 ranks them by probability, more favours long ones. The length counts what was written, the
        end mark included.
      temperature: by which `sample` divides the logits.
      top_k: `sample` draws from so many of the likeliest pieces; None: from all.
      top_p: `sample` draws from the fewest likeliest pieces whose probabilities sum to so much (nucleus
        sampling, Holtzman et al. 2020, section 3.1), after temperature and `top_k`; None: from all.
      length: at most so many pieces a text, its marks and its prompt included; None takes the `length` of the
        run's texts, beyond which no model was trained.
      shortest: the end mark comes behind so many written pieces at the earliest.
      without_media: whether also clips get a text that show nothing a caption could tell of.
      seed: of `sample`, where no key is given.
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
            raise ValueError(f"decoding.temperature {self.temperature} must be above 0; for the likeliest take greedy")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"decoding.top_k is {self.top_k}: leave at least 1 piece, or None for all")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"decoding.top_p {self.top_p} must be in (0, 1], or None for all pieces")
        if self.length is not None and self.length < 2:
            raise ValueError(f"decoding.length is {self.length}: a text has a begin mark and 1 piece or more")
        if self.shortest < 0:
            raise ValueError(f"decoding.shortest is {self.shortest}: it must be 0 or more")
        self._check_unused()

    @property
    def texts(self) -> int:
        """Texts of a clip that are written side by side."""
        return self.beams if self.method == "beam" else 1

    def _check_unused(self) -> None:
        """A setting that the method never looks at is a mistake."""
        sampled = {"temperature": 1.0, "top_k": None, "top_p": None}
        for method, settings in {"sample": sampled, "beam": {"length_penalty": 0.0}}.items():
            for name, unset in settings.items():
                if self.method != method and getattr(self, name) != unset:
                    raise ValueError(
                        f"decoding.{name} is for decoding.method {method}, not {self.method}: set one of the two"
                    )
