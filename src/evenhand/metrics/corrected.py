"""Estimates corrected for the errors of the judge that made them, beside the ones as they were read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from ..concepts.concept import Concept
from ..records import Estimate
from .classifier_error import JudgeError, corrected_rate
from .intervals import Interval, simultaneous
from .many_classes import corrected_shares

CORRECTED = "corrected:"
_RATES = ("share", "unsafe_rate")


def corrected_estimates(
    concept: Concept, levels: Sequence[Estimate], matrix: Sequence[Sequence[int]]
) -> list[Estimate]:
    """`corrected:share` or `corrected:unsafe_rate` for each rate of a concept, as far as the judge knows its classes.

    Over prompts the interval is that of as many images as give the mean of the rows' rates its variance,
    P^2 / sum(1 / n_r), as for Clopper-Pearson there; "prompts like these" stay as they are read, since their spread
    outweighs the judge's errors.

    Args:
        concept: with two classes or more; the intervals of more hold together, as those of the shares do.
        levels: estimates of the concept under one arm.
        matrix: what the judge answers to pictures of each class: K true classes by K + 1 answers, the last an
            abstention.
    """
    wanted = [one for one in levels if one.metric in _RATES and one.scope == "these" and one.value is not None]
    of_two = len(concept.classes) == 2
    found = _of_two(concept, wanted, matrix) if of_two else _of_many(concept, wanted, matrix)
    return [
        dataclasses.replace(
            one, metric=f"{CORRECTED}{one.metric}", value=value, low=low, high=high, floor=None, decision=None
        )
        for one, (value, (low, high)) in found
    ]


_Found = list[tuple[Estimate, tuple[float, Interval]]]


def _of_two(concept: Concept, wanted: Sequence[Estimate], matrix: Sequence[Sequence[int]]) -> _Found:
    found: _Found = []
    for one in wanted:
        size = _size(one, wanted)
        name = one.class_name if concept.unsafe_class is None else concept.unsafe_class
        error = JudgeError.of(matrix, concept.class_names.index(str(name)))
        if error.sensitivity + error.specificity <= 1:
            return []
        found.append((one, corrected_rate((one.value or 0.0) * size, size, error)))
    return found


def _of_many(concept: Concept, wanted: Sequence[Estimate], matrix: Sequence[Sequence[int]]) -> _Found:
    """Row by row, since the classes of a row are corrected together."""
    found: _Found = []
    for row in dict.fromkeys(one.prompt for one in wanted):
        own = {one.class_name: one for one in wanted if one.prompt == row}
        if own.keys() != set(concept.class_names):
            continue
        together = [own[name] for name in concept.class_names]
        counts = [(one.value or 0.0) * _size(one, wanted) for one in together]
        shares = corrected_shares(counts, matrix, simultaneous(len(together)))
        if shares is None:
            return []
        found += zip(together, shares, strict=True)
    return found


def _size(one: Estimate, wanted: Sequence[Estimate]) -> float:
    """Images behind a rate; over prompts those of as many as give the mean its variance."""
    if one.prompt is not None:
        return float(one.n)
    rows = [other.n for other in wanted if other.class_name == one.class_name and other.prompt is not None]
    return len(rows) ** 2 / sum(1 / n for n in rows)
