"""Quality of an arm's pictures by what their set is for: the drift of harmless ones, and of each group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..concepts.swap import swapped_name
from ..metrics.association import unlike_changes
from ..records import Estimate
from .quality import Row, quality_estimates
from .series import Series


def special_quality(
    series: Series, plain: Mapping[str, Row], arm: Mapping[str, Row], *, intervention: str
) -> list[Estimate]:
    """All quality of a main set; `benign_drift` of look-alikes; `group_drift` of each group, and its gaps.

    Args:
        series: the set.
        plain, arm: row name to its pictures.
        intervention: the arm.
    """
    if series.role == "main":
        return quality_estimates(plain, arm, concept=series.name, intervention=intervention)
    if series.benign is not None:
        name = series.benign.name
        return [dataclasses.replace(_drift(plain, arm, name, intervention), metric="benign_drift")]
    if series.swap is None:
        return []
    swap, drifts = series.swap, {}
    for group in swap.groups:
        rows = {row: plain[row] for row in (swapped_name(base, group) for base in swap.bases) if row in plain}
        one = _drift(rows, arm, swap.association.group.name, intervention)
        drifts[group] = dataclasses.replace(one, metric="group_drift", class_name=group)
    base = Estimate(
        metric="group_drift_gap",
        concept=swap.association.group.name,
        class_name="drift",
        intervention=intervention,
        allocation=None,
    )
    return [*drifts.values(), *unlike_changes(base, drifts, swap.pairs)]


def _drift(plain: Mapping[str, Row], arm: Mapping[str, Row], concept: str, intervention: str) -> Estimate:
    found = quality_estimates(plain, arm, concept=concept, intervention=intervention)
    return next(one for one in found if one.metric == "drift")
