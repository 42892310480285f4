"""Precision, recall and F1 of each class, and their three averages, from counts.

The definitions are those of van Rijsbergen (1979, "Information retrieval", chapter 7). A class that was never predicted
has precision 0. A class that is absent from the truth has no recall and no F1. It takes no part in the macro and
weighted averages, as papers average over the classes present. (scikit-learn includes an absent class that was predicted
in its macro average with F1 0, unless `labels` is set to the classes present.) Predictions of an absent class still
count as wrong in the micro average.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True)
class Counts:
    """Counts of each class in predictions and truth.

    Attributes:
      right: Number of clips that have the class and were predicted to have it.
      answered: Number of clips that were predicted to have the class.
      support: Number of clips that have the class.
    """

    right: Int[np.ndarray, "C"]
    answered: Int[np.ndarray, "C"]
    support: Int[np.ndarray, "C"]

    @property
    def present(self) -> np.ndarray:
        """Mask of the classes that the truth holds."""
        return self.support > 0

    @property
    def precision(self) -> Float[np.ndarray, "C"]:
        """Share of the predictions of a class that are right; 0 without any."""
        return self.right / np.maximum(self.answered, 1)

    @property
    def recall(self) -> Float[np.ndarray, "C"]:
        """Share of the clips of a class that were predicted right; NaN if the class is absent."""
        return np.where(self.present, self.right / np.maximum(self.support, 1), np.nan)

    @property
    def f1(self) -> Float[np.ndarray, "C"]:
        """Harmonic mean of precision and recall; NaN if the class is absent."""
        # With p = right / answered and r = right / support, 2 p r / (p + r) = 2 right / (answered + support).
        both = np.maximum(self.answered + self.support, 1)
        return np.where(self.present, 2 * self.right / both, np.nan)

    def averages(self) -> dict[str, float]:
        """Return `{macro, micro, weighted}_{precision, recall, f1}`; macro and weighted over the classes present."""
        found: dict[str, float] = {}
        present = self.present
        weight = self.support[self.present]
        for name, values in (("precision", self.precision), ("recall", self.recall), ("f1", self.f1)):
            values = values[present]
            found[f"macro_{name}"] = float(values.mean()) if len(values) else float("nan")
            found[f"weighted_{name}"] = float(values @ weight / weight.sum()) if len(values) else float("nan")
        right, answered, support = int(self.right.sum()), int(self.answered.sum()), int(self.support.sum())
        found["micro_precision"] = right / max(answered, 1)
        found["micro_recall"] = right / support if support else float("nan")
        found["micro_f1"] = 2 * right / (answered + support) if support else float("nan")
        return found
