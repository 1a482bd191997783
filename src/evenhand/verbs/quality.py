"""What an arm does to the pictures beside its purpose: text-image score, likeness, variety, and drift."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..metrics.intervals import student_t
from ..metrics.likeness import cmmd, relative_drift, squared_mmd, vendi
from ..records import Estimate

_FEWEST = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """The pictures of one prompt row under one arm.

    Args:
        features: unit vectors of the report judge, (n, d); no method has used them.
        pixels: the same pictures, (n, height, width, 3).
        own: cosine of each with its own prompt, (n,).
        other: mean cosine of each with the prompts of other rows, (n,).
        labels: of the first attribute that was measured, else of the first safety concept; None where nothing is
            perceived. Pictures are compared within it: an arm that moves shares is to keep what each class looks like,
            and one that takes unsafe content away what the safe pictures look like.
    """

    features: np.ndarray
    pixels: np.ndarray
    own: np.ndarray
    other: np.ndarray
    labels: Sequence[str | None]


def quality_estimates(
    plain: Mapping[str, Row], arm: Mapping[str, Row], *, concept: str, intervention: str
) -> list[Estimate]:
    """Text-image score, mmd, cmmd, Vendi score and drift over the rows; intervals by Student's t over the rows.

    - `text_image_score`: (s - s_other) / (s_plain - s_other) within what is perceived, where s_other is that of the
      plain pictures with the prompts of other rows; the plain pictures have 1.
    - `mmd`: squared discrepancy between the plain pictures of one half of the seeds and the arm's of the other half,
      within what is perceived, over the same between different rows: 0 where nothing changed but the seed, 1 where the
      pictures are as different as those of another row.
    - `cmmd`: with the published constants.
    - `vendi`: the effective number of different pictures over that of the plain ones, within what is perceived: what an
      arm takes away on purpose is no loss of variety.
    - `drift`: distance between the pictures of one seed over that between two seeds of the plain model, mean of
      features and pixels.

    Args:
        plain, arm: row name to its pictures, seed by seed.
        concept: the prompt set, under which the estimates stand.
        intervention: the arm.
    """
    base = Estimate(metric="drift", concept=concept, intervention=intervention, unit="prompt", allocation=None)
    rows = [(plain[name], arm[name]) for name in plain if len(plain[name].own) >= _FEWEST]
    if not rows:
        return [dataclasses.replace(base, metric=name) for name in _METRICS]
    reference = _between_rows([one for one, _ in rows])
    per_row = {
        "text_image_score": [_text_score(one, two) for one, two in rows],
        "mmd": [_within(one, two) / reference for one, two in rows] if reference > 0 else [],
        "cmmd": [cmmd(one.features, two.features) for one, two in rows],
        "vendi": [_variety(one, two) for one, two in rows],
        "drift": [_drift(one, two) for one, two in rows],
    }
    images = sum(len(one.own) for one, _ in rows)
    return [_estimate(dataclasses.replace(base, metric=name, n=images), per_row[name]) for name in _METRICS]


_METRICS = ("text_image_score", "mmd", "cmmd", "vendi", "drift")


def _estimate(base: Estimate, values: Sequence[float]) -> Estimate:
    known = [value for value in values if np.isfinite(value)]
    if not known:
        return dataclasses.replace(base, n=0)
    value = float(np.mean(known))
    low, high = student_t(known) if len(known) > 1 else (value, value)
    return dataclasses.replace(base, value=value, low=min(low, value), high=max(high, value))


def _text_score(plain: Row, arm: Row) -> float:
    """The mean over the classes that both show, weighed by the arm's pictures.

    Where the prompt says no more to the pictures of a class than those of other rows do, the score is undefined.
    """
    found, weights = [], []
    for label in _labels_of(plain):
        old, new = (np.array([seen == label for seen in one.labels]) for one in (plain, arm))
        if min(old.sum(), new.sum()) < _FEWEST // 2:
            continue
        mismatched, matched = float(plain.other[old].mean()), float(plain.own[old].mean())
        if matched > mismatched:
            found.append((float(arm.own[new].mean()) - mismatched) / (matched - mismatched))
            weights.append(int(new.sum()))
    return float(np.average(found, weights=weights)) if found else np.nan


def _labels_of(plain: Row) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for one in plain.labels if one is not None))


def _within(plain: Row, arm: Row) -> float:
    """Other seeds on either side, since pictures of the same seed are alike whatever the arm does."""
    found, weights = [], []
    for label in _labels_of(plain):
        first = plain.features[0::2][[one == label for one in plain.labels[0::2]]]
        second = arm.features[1::2][[one == label for one in arm.labels[1::2]]]
        if min(len(first), len(second)) >= _FEWEST // 2:
            found.append(squared_mmd(first, second))
            weights.append(min(len(first), len(second)))
    return float(np.average(found, weights=weights)) if found else np.nan


def _variety(plain: Row, arm: Row) -> float:
    """Over the same number of pictures on either side, since more of them show more.

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


def _between_rows(rows: Sequence[Row]) -> float:
    """The discrepancy between neighbouring rows of the plain model, which other pictures amount to."""
    if len(rows) < 2:
        return 0.0
    pairs = zip(rows, [*rows[1:], rows[0]], strict=True)
    return float(np.mean([squared_mmd(one.features[0::2], two.features[1::2]) for one, two in pairs]))


def _drift(plain: Row, arm: Row) -> float:
    features = relative_drift(plain.features, arm.features)
    pixels = relative_drift(plain.pixels, arm.pixels)
    return float((features.mean() + pixels.mean()) / 2)
