"""What an arm does to the pictures beside its purpose: text-image score, likeness, variety, and drift."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..metrics.content import FEWEST, Row, between_rows, discrepancy, drift, text_score, variety
from ..metrics.intervals import student_t
from ..metrics.likeness import cmmd
from ..records import Estimate


def quality_estimates(
    plain: Mapping[str, Row], arm: Mapping[str, Row], *, concept: str, intervention: str
) -> list[Estimate]:
    """Text-image score, mmd, cmmd, Vendi score and drift over the rows; intervals by Student's t over the rows.

    A figure that fewer than half of the rows have is undefined: it would say nothing of the others. Where several
    attributes are measured, few images leave no two of a combination in many rows.

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
    rows = [(plain[name], arm[name]) for name in plain if len(plain[name].own) >= FEWEST]
    if not rows:
        return [dataclasses.replace(base, metric=name) for name in _METRICS]
    reference = between_rows([one for one, _ in rows])
    per_row = {
        "text_image_score": [text_score(one, two) for one, two in rows],
        "mmd": [discrepancy(one, two) / reference if reference > 0 else np.nan for one, two in rows],
        "cmmd": [cmmd(one.features, two.features) for one, two in rows],
        "vendi": [variety(one, two) for one, two in rows],
        "drift": [drift(one, two) for one, two in rows],
    }
    images = [len(one.own) for one, _ in rows]
    return [_estimate(dataclasses.replace(base, metric=name), per_row[name], images) for name in _METRICS]


_METRICS = ("text_image_score", "mmd", "cmmd", "vendi", "drift")


def _estimate(base: Estimate, values: Sequence[float], images: Sequence[int]) -> Estimate:
    """The mean over the rows that have a value, and how many images these have."""
    known = [(value, count) for value, count in zip(values, images, strict=True) if np.isfinite(value)]
    if not known or 2 * len(known) < len(images):
        return base
    found = [value for value, _ in known]
    value = float(np.mean(found))
    low, high = student_t(found) if len(found) > 1 else (value, value)
    return dataclasses.replace(
        base, value=value, low=min(low, value), high=max(high, value), n=sum(count for _, count in known)
    )
