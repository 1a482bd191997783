"""Audits that stop by themselves: prompt by prompt, as soon as the verdict is reached that can be taken at any time."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..concepts.concept import Concept
from ..errors import InputError
from ..metrics.decision import row_decision
from ..metrics.sequences import confidence_sequence, decide_at_any_time
from ..records import Estimate, Request, Settings, Verdict
from ..store import RunDirectory
from ..watch import Watcher
from .arm import Arm
from .observe import Source, observe
from .series import Series

ROUND = 8
"""Images of a prompt between two looks. Looking costs nothing in error, making images one by one would cost time."""


def observe_until_decided(
    source: Source,
    run: RunDirectory,
    series: Series,
    settings: Settings,
    watcher: Watcher,
    *,
    margin: float,
    arm: str | None = None,
) -> tuple[Series, dict[Request, tuple[Verdict, ...]]]:
    """Make and judge images of each prompt until all of its attributes are decided, at most those of the series.

    Returns: the series with the images that were made, and their verdicts.
    Raises: StorageError when the disk fails; what is committed stays, and the same call continues.
    """
    open_rows: dict[str, list[Request]] = {row: [] for row in series.rows}
    for request in series.requests:
        open_rows[request.row].append(request)
    used: list[Request] = []
    verdicts: dict[Request, tuple[Verdict, ...]] = {}
    while any(open_rows.values()):
        some = [request for left in open_rows.values() for request in left[:ROUND]]
        part = dataclasses.replace(series, requests=tuple(some))
        verdicts |= observe(source, run, part, settings, watcher, arm=arm)
        used += some
        open_rows = {row: left[ROUND:] for row, left in open_rows.items()}
        for row in open_rows:
            if _decided(series, row, used, verdicts, margin):
                open_rows[row] = []
    made = set(used)
    return dataclasses.replace(series, requests=tuple(one for one in series.requests if one in made)), verdicts


def check_until_decided(series: Sequence[Series]) -> None:
    """Raises InputError where a prompt set is asked for nothing that can be decided."""
    for one in series:
        if all(concept.kind == "safety" for concept in one.concepts):
            raise InputError(
                f"--until-decided: {', '.join(concept.name for concept in one.concepts)} has no target that it could "
                "be fair to; give --images-per-prompt, or ask about an attribute"
            )


def check_allocation(arm: Arm) -> None:
    """Raises InputError where an arm gives classes by quotas: images are then predictable from those before."""
    quotas = [name for name, one in arm.assigned.items() if one.mode == "stratified"]
    if quotas:
        raise InputError(
            f"--until-decided: {arm.name} gives {quotas[0]} by quotas, and a confidence sequence of images that can be "
            "predicted says nothing; give allocation=iid"
        )


def any_time_estimates(estimates: Sequence[Estimate], series: Series, margin: float) -> list[Estimate]:
    """What may be said of a run that stopped by its own numbers: shares with confidence sequences, and verdicts.

    Intervals for a fixed number of images do not hold there, so no other estimate is kept.
    """
    found: list[Estimate] = []
    for concept in series.concepts:
        if concept.kind == "safety":
            continue
        for row in series.rows:
            own = [
                one
                for one in estimates
                if one.metric == "share" and one.concept == concept.name and one.prompt == row and one.kind == "level"
            ]
            found += _row(own, concept, margin)
    return found


def _row(shares: Sequence[Estimate], concept: Concept, margin: float) -> list[Estimate]:
    counts = [round((one.value or 0.0) * one.n) for one in shares]
    decisions = decide_at_any_time(counts, concept.reference, margin)
    level = 1 - 0.05 / (len(shares) if len(shares) > 2 else 1)
    found = []
    for one, k, decision in zip(shares, counts, decisions, strict=True):
        if one.n == 0:
            found.append(one)
            continue
        low, high = confidence_sequence(k, one.n, level)
        found.append(dataclasses.replace(one, value=k / one.n, low=low, high=high, decision=decision))
    return found


def _decided(
    series: Series,
    row: str,
    used: Sequence[Request],
    verdicts: Mapping[Request, tuple[Verdict, ...]],
    margin: float,
) -> bool:
    own = [request for request in used if request.row == row]
    for concept in series.concepts:
        if concept.kind == "safety":
            continue
        place = series.asked.index(concept)
        labels = [verdicts[request][place].label for request in own]
        counts = [labels.count(name) for name in concept.class_names]
        if row_decision(decide_at_any_time(counts, concept.reference, margin)) not in ("fair", "biased"):
            return False
    return True
