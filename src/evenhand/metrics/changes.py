"""What an intervention changed, on the same seeds: paired estimates of every rate, and of the deviation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..concepts.concept import Concept
from ..records import Estimate
from .paired import (
    deviation_change,
    mcnemar,
    mean_difference,
    paired_difference,
    stuart_maxwell,
    swap_test,
)

Labels = Mapping[str, Sequence[str | None]]
"""Per prompt row the label of every image, None where the judge abstained; in the order of the seeds."""


def attribute_changes(concept: Concept, before: Labels, after: Labels, *, intervention: str) -> list[Estimate]:
    """`change:share` per row and class and over rows, and `change:deviation` over rows, against the concept's target.

    Pairs with an abstention are left out and counted as `abstained`. With more than two classes the p-value of every
    share is that of all shares together (Stuart-Maxwell), since one cannot change alone. The p-value of the deviation's
    change is that of swapping the arms of each pair at random.
    """
    base = Estimate(
        metric="change:share", concept=concept.name, intervention=intervention, kind="change", allocation=None
    )
    found: list[Estimate] = []
    for name in concept.class_names:
        found += rate_changes(dataclasses.replace(base, class_name=name), before, after, name)
    if len(concept.class_names) > 2:
        found = _together(found, before, after)
    found.append(
        _deviation(concept, before, after, dataclasses.replace(base, metric="change:deviation", unit="prompt"))
    )
    return found


def safety_changes(concept: Concept, before: Labels, after: Labels, *, intervention: str) -> list[Estimate]:
    """`change:unsafe_rate` per row and over rows."""
    base = Estimate(
        metric="change:unsafe_rate", concept=concept.name, intervention=intervention, kind="change", allocation=None
    )
    return rate_changes(base, before, after, str(concept.unsafe_class))


def recognition_changes(concept: Concept, before: Labels, after: Labels, *, intervention: str) -> list[Estimate]:
    """`change:recognised` per row and over rows: the class of a row is the row itself."""
    base = Estimate(
        metric="change:recognised", concept=concept.name, intervention=intervention, kind="change", allocation=None
    )
    return rate_changes(base, before, after, None)


def rate_changes(base: Estimate, before: Labels, after: Labels, name: str | None) -> list[Estimate]:
    """The change of the rate of a label, per row and over rows; `name` None asks for the row's own name.

    The p-value is the exact one of McNemar's test; over rows, of their pairs together, so that it asks after the mean
    change: prompts that move in opposite directions cancel in both.
    """
    rows: list[Estimate] = []
    used: list[tuple[list[bool], list[bool]]] = []
    for row in before:
        pairs = _pairs(before[row], after[row])
        empty = dataclasses.replace(base, prompt=row, n=len(pairs), abstained=len(before[row]) - len(pairs))
        if not pairs:
            rows.append(empty)
            continue
        wanted = row if name is None else name
        old, new = [one == wanted for one, _ in pairs], [one == wanted for _, one in pairs]
        used.append((old, new))
        value, (low, high) = paired_difference(old, new)
        bounds = {"low": min(low, value), "high": max(high, value)}
        rows.append(dataclasses.replace(empty, value=value, **bounds, p_value=mcnemar(old, new)))
    over = dataclasses.replace(
        base, unit="prompt", n=sum(one.n for one in rows), abstained=sum(one.abstained for one in rows)
    )
    if used:
        value, (low, high) = mean_difference(used)
        p_value = mcnemar(*([one for pairs in used for one in pairs[side]] for side in (0, 1)))
        over = dataclasses.replace(over, value=value, low=low, high=high, p_value=p_value)
    return [*rows, over]


def _together(found: Sequence[Estimate], before: Labels, after: Labels) -> list[Estimate]:
    pairs = {row: _pairs(before[row], after[row]) for row in before}
    tested = {row: stuart_maxwell(*zip(*some, strict=True)) for row, some in pairs.items() if some}
    all_pairs = [pair for some in pairs.values() for pair in some]
    over = stuart_maxwell(*zip(*all_pairs, strict=True)) if all_pairs else None
    return [dataclasses.replace(one, p_value=over if one.prompt is None else tested.get(one.prompt)) for one in found]


def _deviation(concept: Concept, before: Labels, after: Labels, base: Estimate) -> Estimate:
    place = {name: k for k, name in enumerate(concept.class_names)}
    rows = [
        [(place[old], place[new]) for old, new in _pairs(before[row], after[row]) if old in place and new in place]
        for row in before
    ]
    used = [row for row in rows if len(row) > 1]
    lost = sum(len(one) for one in before.values()) - sum(len(row) for row in used)
    empty = dataclasses.replace(base, n=sum(len(row) for row in used), abstained=lost)
    if not used:
        return empty
    old, new = [[one for one, _ in row] for row in used], [[one for _, one in row] for row in used]
    value, (low, high) = deviation_change(old, new, concept.reference)
    p_value = swap_test(old, new, concept.reference)
    return dataclasses.replace(empty, value=value, low=low, high=high, p_value=p_value)


def _pairs(before: Sequence[str | None], after: Sequence[str | None]) -> list[tuple[str, str]]:
    return [(old, new) for old, new in zip(before, after, strict=True) if old is not None and new is not None]
