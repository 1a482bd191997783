"""Estimates corrected for the errors of the judge that made them, beside the ones as they were read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..concepts.concept import Concept
from ..records import Estimate
from .classifier_error import JudgeError, corrected_rate

CORRECTED = "corrected:"
_RATES = ("share", "unsafe_rate")


def corrected_estimates(
    concept: Concept, levels: Sequence[Estimate], matrix: Sequence[Sequence[int]]
) -> list[Estimate]:
    """`corrected:share` or `corrected:unsafe_rate` for each rate of a concept with two classes.

    Over prompts the interval is that of as many images as give the mean of the rows' rates its variance,
    P^2 / sum(1 / n_r), as for Clopper-Pearson there; "prompts like these" stay as they are read, since their spread
    outweighs the judge's errors.

    Args:
        concept: with two classes; with more the errors between classes do not reduce to two rates, and nothing is
            returned.
        levels: estimates of the concept under one arm.
        matrix: what the judge answers to pictures of each class: 2 true classes by 3 answers, the last an abstention.
    """
    if len(concept.classes) != 2:
        return []
    wanted = [one for one in levels if one.metric in _RATES and one.scope == "these" and one.value is not None]
    sizes = {
        name: [one.n for one in wanted if one.class_name == name and one.prompt is not None]
        for name in {one.class_name for one in wanted}
    }
    found: list[Estimate] = []
    for one in wanted:
        rows = sizes[one.class_name]
        size = float(one.n) if one.prompt is not None else len(rows) ** 2 / sum(1 / n for n in rows)
        name = one.class_name if concept.unsafe_class is None else concept.unsafe_class
        error = JudgeError.of(matrix, concept.class_names.index(str(name)))
        if error.sensitivity + error.specificity <= 1:
            return []
        value, (low, high) = corrected_rate((one.value or 0.0) * size, size, error)
        found.append(
            dataclasses.replace(
                one, metric=f"{CORRECTED}{one.metric}", value=value, low=low, high=high, floor=None, decision=None
            )
        )
    return found
