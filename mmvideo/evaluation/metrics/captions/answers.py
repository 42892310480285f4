"""Question answering, scored by exact match.

`exact_match` compares answers after the normalisation of the SQuAD evaluation (Rajpurkar et al. 2016, section 6.1):
lower case, no punctuation, no articles, single spaces. `exact_match_verbatim` compares the texts as they are, with
trimmed ends. Open-ended video question answering with a closed list of answers (MSRVTT-QA, MSVD-QA, ActivityNet-QA) is
scored in this way. Any of several right answers counts. VQA's soft accuracy over ten annotators, which also respells
numbers and contractions, is a different metric.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(answer: str) -> str:
    """Return the answer in lower case, without ASCII punctuation and articles, with single spaces."""
    # `The red, red circle!` becomes `red red circle`.
    return " ".join(_ARTICLES.sub(" ", answer.lower().translate(_NO_PUNCTUATION)).split())


def answer_metrics(
    predicted: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    kinds: Mapping[str, str] | None = None,
) -> tuple[dict[str, float | int], dict[str, dict[str, float]]]:
    """Return the share of questions answered right, overall and by type of answer.

    Args:
      predicted: Answer to each question, by its id.
      references: Right answers to each question.
      kinds: Type of each answer (`number`, `yes/no`, …), for some or all questions.

    Returns:
      `exact_match`, `exact_match_verbatim`, `exact_match/KIND` and `clips/KIND` for each type, `clips`, and `left_out`,
        the
      number of questions without a prediction or without a right answer; then the first two of each question.

    Raises:
      ValueError: The answers of a question are a string, or no question has both.
    """
    both = [name for name in predicted if references.get(name)]
    if not both:
        raise ValueError("no question has both a predicted and a right answer: check that their ids are the same")
    if strings := [name for name in both if isinstance(references[name], str)]:
        raise ValueError(f"right answers of {strings[0]!r} are a string: give a list of strings")
    single = {name: _matches(predicted[name], references[name]) for name in both}
    metrics: dict[str, float | int] = dict(_means(list(single.values())))
    for kind in sorted({kinds[name] for name in both if name in kinds} if kinds else ()):
        of_kind = [single[name] for name in both if kinds.get(name) == kind]
        metrics[f"exact_match/{kind}"] = _means(of_kind)["exact_match"]
        metrics[f"clips/{kind}"] = len(of_kind)
    metrics["clips"] = len(both)
    metrics["left_out"] = len(predicted.keys() | references.keys()) - len(both)
    return metrics, single


def _matches(answer: str, right: Sequence[str]) -> dict[str, float]:
    return {
        "exact_match": float(normalised(answer) in {normalised(one) for one in right}),
        "exact_match_verbatim": float(answer.strip() in {one.strip() for one in right}),
    }


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(value[name] for value in values) / len(values) for name in values[0]}
