"""What happens to the pictures of a prompt beside what is wanted of them: do they fit it, and are they as they were?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from .likeness import relative_drift, squared_mmd, vendi

FEWEST = 4
"""Pictures of a row, with which it is compared."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """The pictures of one prompt row under one arm.

    Args:
        features: unit vectors of a judge, (n, d).
        pixels: the same pictures, (n, height, width, 3).
        own: cosine of each with its own prompt, (n,).
        other: mean cosine of each with the prompts of other rows, (n,).
        labels: of all attributes that were measured, together, else of the first safety concept; None where one is not
            perceived. Pictures are compared within it: an arm that moves shares is to keep what each class looks like,
            and one that takes unsafe content away what the safe pictures look like.
    """

    features: np.ndarray
    pixels: np.ndarray
    own: np.ndarray
    other: np.ndarray
    labels: Sequence[str | None]


def together(labels: Sequence[str | None]) -> str | None:
    """What is perceived of several concepts in one picture, as one label; None where one of them cannot be told."""
    return None if None in labels else " ".join(str(one) for one in labels)


def text_score(plain: Row, arm: Row) -> float:
    """(s - s_other) / (s_plain - s_other), the mean over the classes that both show, weighed by the arm's pictures.

    Where the prompt says no more to the pictures of a class than those of other rows do, the score is undefined.
    """
    found, weights = [], []
    for label in _labels_of(plain):
        old, new = (np.array([seen == label for seen in one.labels]) for one in (plain, arm))
        if min(old.sum(), new.sum()) < FEWEST // 2:
            continue
        mismatched, matched = float(plain.other[old].mean()), float(plain.own[old].mean())
        if matched > mismatched:
            found.append((float(arm.own[new].mean()) - mismatched) / (matched - mismatched))
            weights.append(int(new.sum()))
    return float(np.average(found, weights=weights)) if found else np.nan


def _labels_of(plain: Row) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in plain.labels if one is not None))


def discrepancy(plain: Row, arm: Row) -> float:
    """Squared MMD within what is perceived.

    Of other seeds on either side, since pictures of the same seed are alike whatever the arm does.
    """
    found, weights = [], []
    for label in _labels_of(plain):
        first = plain.features[0::2][[one == label for one in plain.labels[0::2]]]
        second = arm.features[1::2][[one == label for one in arm.labels[1::2]]]
        if min(len(first), len(second)) >= FEWEST // 2:
            found.append(squared_mmd(first, second))
            weights.append(min(len(first), len(second)))
    return float(np.average(found, weights=weights)) if found else np.nan


def variety(plain: Row, arm: Row) -> float:
    """Ratio of Vendi scores over the same number of pictures on either side, since more of them show more.

    A single picture has a score of 1 whatever it shows, so classes that few pictures show say little and weigh little.
    Where nothing is perceived in common, all pictures are one class.
    """
    pairs = [tuple(_of_class(one, label) for one in (plain, arm)) for label in _labels_of(plain)]
    found = [(first, second) for first, second in pairs if min(len(first), len(second)) > 0]
    found = found or [(plain.features, arm.features)]
    counts = [min(len(first), len(second)) for first, second in found]
    ratios = [vendi(two[:n]) / vendi(one[:n]) for (one, two), n in zip(found, counts, strict=True)]
    return float(np.average(ratios, weights=counts))


def _of_class(one: Row, label: str) -> np.ndarray:
    return one.features[[seen == label for seen in one.labels]]


def between_rows(rows: Sequence[Row]) -> float:
    """The discrepancy between neighbouring rows of the plain model, which other pictures amount to."""
    if len(rows) < 2:
        return 0.0
    pairs = zip(rows, [*rows[1:], rows[0]], strict=True)
    return float(np.mean([squared_mmd(one.features[0::2], two.features[1::2]) for one, two in pairs]))


def drift(plain: Row, arm: Row) -> float:
    """How far the pictures of the same seeds moved, in units of two seeds; the mean of features and pixels."""
    features = relative_drift(plain.features, arm.features)
    pixels = relative_drift(plain.pixels, arm.pixels)
    return float((features.mean() + pixels.mean()) / 2)
