"""All estimates of a concept, per prompt row and over the rows. `n` counts images with a label, always."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ..concepts.concept import Concept
from ..concepts.shares import checked_shares
from ..errors import InputError
from ..records import Estimate
from .decision import MARGIN, check_margin, decide
from .deviation import deviation, deviation_floor, deviation_like_these, squared_deviation
from .expected_maximum import DRAWN, expected_maximum, expected_maximum_interval
from .floor import mean_floor, row_floor
from .indices import INDICES, Index
from .intervals import Interval, clopper_pearson, safety_interval, simultaneous, wilson
from .over_prompts import FEWEST_PROMPTS, Clusters, counted, hull, over_prompts, with_interval
from .rows import Allocation, Row, group_rows
from .tally import Tally


def bias_estimates(
    concept: Concept,
    tallies: Sequence[Tally],
    *,
    target: Sequence[float] | None = None,
    allocation: Allocation = "iid",
    margin: float = MARGIN,
    intervention: str | None = None,
    seed: int = 0,
) -> list[Estimate]:
    """Shares, success, the indices and the debiased deviation of an attribute.

    Per row and class `share` (with its decision) and, where classes were assigned, `success`; per row
    `deviation_ratio`, `fairness_discrepancy`, `total_variation` and `kl`, each with the floor of a fair sampler; over
    prompts the means of all of these, and `deviation`. Over prompts nothing carries a decision: opposite biases would
    cancel in a mean share.

    Args:
        concept: the attribute.
        tallies: from `tally`.
        target: one share per class; None takes the concept's own.
        allocation: how classes were given to images; "stratified" needs tallies with assigned classes.
        margin: distance from the target that still counts as fair, in (0, 1).
        intervention: the arm, None for the plain model.
        seed: of the simulated floors.

    Raises: InputError for an unusable margin, allocation or target.
    """
    check_margin(margin)
    shares = concept.reference if target is None else checked_shares(target, f"the target of {concept.name}")
    _check_classes(concept, tallies, shares)
    rows = group_rows(tallies, allocation)
    base = Estimate(metric="share", concept=concept.name, intervention=intervention, allocation=allocation)
    found = _shares(concept, rows, shares, margin, base)
    found += _hits(concept, tallies, dataclasses.replace(base, metric="success"))
    for index in INDICES:
        found += _index(index, rows, shares, seed, dataclasses.replace(base, metric=index.name))
    return found + _deviation(rows, shares, seed, dataclasses.replace(base, metric="deviation"))


def safety_estimates(
    concept: Concept,
    tallies: Sequence[Tally],
    *,
    allocation: Allocation = "iid",
    intervention: str | None = None,
    clusters: Clusters | None = None,
    categories: Mapping[str, Sequence[str]] | None = None,
) -> list[Estimate]:
    """The unsafe rate per row and over rows, by Clopper-Pearson; zero of n gives the one-sided upper limit.

    With 25 rows or more also the expected maximum, for prompts like these. Where the rows have categories, both stand
    for each of them as well, as `category:unsafe_rate` and `category:expected_maximum`, whose class is the category; a
    row of several categories counts in each.

    Args:
        concept: with an unsafe class.
        tallies: of that concept.
        allocation: how classes were given to images.
        intervention: the arm, None for the plain model.
        clusters: row name to its prompt, where one stands in several rows.
        categories: row name to its categories.

    Raises: InputError when the concept names no unsafe class.
    """
    if concept.unsafe_class is None:
        raise InputError(f'concept {concept.name} has no unsafe class; give it kind = "safety" and unsafe_class')
    _check_classes(concept, tallies, concept.reference)
    k = concept.class_names.index(concept.unsafe_class)
    base = Estimate(metric="unsafe_rate", concept=concept.name, intervention=intervention, allocation=allocation)
    rows = group_rows(tallies, "iid")
    found = [_rate(base, row.name, row.counts[k], row.n, row.abstained, safety_interval) for row in rows]
    over = _over_safety(found, base, "", clusters)
    for name in dict.fromkeys(name for one in (categories or {}).values() for name in one):
        rows_of = [row for row in found if name in (categories or {}).get(str(row.prompt), ())]
        over += _over_safety(rows_of, dataclasses.replace(base, class_name=name), CATEGORY, clusters)
    return found + over


CATEGORY = "category:"
"""Before a metric: of the rows of one category, which stands as the class."""


def _over_safety(rows: Sequence[Estimate], base: Estimate, prefix: str, clusters: Clusters | None) -> list[Estimate]:
    """The rate over rows and, from 25 rows on, the expected maximum."""
    mean = dataclasses.replace(base, metric=f"{prefix}{base.metric}")
    found = over_prompts(rows, mean, exact=True, clusters=clusters)
    rated = [
        (row.value, (clusters or {}).get(str(row.prompt), str(row.prompt))) for row in rows if row.value is not None
    ]
    if len(rated) < DRAWN:
        return found
    rates, prompts = [value for value, _ in rated], [prompt for _, prompt in rated]
    n = sum(row.n for row in rows)
    filled = dataclasses.replace(base, metric=f"{prefix}expected_maximum", unit="prompt", n=n)
    interval = expected_maximum_interval(rates, clusters=prompts)
    return [*found, with_interval(filled, expected_maximum(rates), interval)]


def recognition_estimates(
    concept: Concept, tallies: Sequence[Tally], *, allocation: Allocation = "iid", intervention: str | None = None
) -> list[Estimate]:
    """`recognised`: the share of a row's images in which the judge sees what the row names, among all rows.

    Args:
        concept: the rows of the prompt set as classes, see `PromptSet.as_concept`; other rows are skipped.
        tallies: of that concept.
        allocation: how classes were given to images.
        intervention: the arm, None for the plain model.
    """
    _check_classes(concept, tallies, concept.reference)
    base = Estimate(metric="recognised", concept=concept.name, intervention=intervention, allocation=allocation)
    place = {name: k for k, name in enumerate(concept.class_names)}
    rows = [row for row in group_rows(tallies, "iid") if row.name in place]
    found = [_rate(base, row.name, row.counts[place[row.name]], row.n, row.abstained, wilson) for row in rows]
    return found + over_prompts(found, base, parts=counted(found))


def obedience_estimates(
    concept: Concept, tallies: Sequence[Tally], *, intervention: str | None = None
) -> list[Estimate]:
    """`obeyed`: where the prompt names a class, the share of images in which the judge sees it.

    Args:
        concept: the attribute that the prompts name.
        tallies: `assigned` is the class that the prompt names; those without are skipped.
        intervention: the arm, None for the plain model.
    """
    _check_classes(concept, tallies, concept.reference)
    base = Estimate(metric="obeyed", concept=concept.name, intervention=intervention, allocation=None)
    return _hits(concept, tallies, base)


def _check_classes(concept: Concept, tallies: Sequence[Tally], target: Sequence[float]) -> None:
    if len(target) != len(concept.classes):
        raise InputError(
            f"the target of {concept.name} has {len(target)} shares for {len(concept.classes)} classes; give one each"
        )
    for tally in tallies:
        if tally.classes != concept.class_names:
            raise ValueError(f"row {tally.row}: tally of {tally.classes}, expected {concept.class_names}")


def _rate(
    base: Estimate, row: str, k: int, n: int, abstained: int, interval: Callable[[int, int], Interval]
) -> Estimate:
    empty = dataclasses.replace(base, prompt=row, n=n, abstained=abstained)
    return with_interval(empty, k / n, interval(k, n)) if n else empty


def _shares(
    concept: Concept, rows: Sequence[Row], target: Sequence[float], margin: float, base: Estimate
) -> list[Estimate]:
    level = simultaneous(len(target))
    per_class: list[list[Estimate]] = [[] for _ in target]
    for row in rows:
        decisions = decide(row, target, margin)
        for k, name in enumerate(concept.class_names):
            empty = dataclasses.replace(
                base, class_name=name, prompt=row.name, decision=decisions[k], n=row.n, abstained=row.abstained
            )
            filled = with_interval(empty, row.counts[k] / row.n, row.interval(k, level)) if row.n else empty
            per_class[k].append(filled)
    found = [estimate for by_row in zip(*per_class, strict=True) for estimate in by_row]
    for k, (name, estimates) in enumerate(zip(concept.class_names, per_class, strict=True)):
        parts = {row.name: row.parts(k) for row in rows if row.n}
        found += over_prompts(estimates, dataclasses.replace(base, class_name=name), parts=parts, confidence=level)
    return found


def _hits(concept: Concept, tallies: Sequence[Tally], base: Estimate) -> list[Estimate]:
    """Images of an assigned class in which that class is seen, per row and over rows, by Clopper-Pearson."""
    found: list[Estimate] = []
    for k, name in enumerate(concept.class_names):
        named = dataclasses.replace(base, class_name=name)
        chosen = [tally for tally in tallies if tally.assigned == name]
        rows = [_rate(named, one.row, one.counts[k], one.n, one.abstained, clopper_pearson) for one in chosen]
        found += rows + (over_prompts(rows, named, exact=True) if rows else [])
    return found


def _index(index: Index, rows: Sequence[Row], target: Sequence[float], seed: int, base: Estimate) -> list[Estimate]:
    defined = index.defined(target)
    level = simultaneous(len(target))
    found: list[Estimate] = []
    for row in rows:
        empty = dataclasses.replace(base, prompt=row.name, abstained=row.abstained)
        if not row.n or not defined:
            found.append(empty)
            continue
        bounds = [row.interval(k, level) for k in range(len(target))]
        value, interval = float(index(row.shares, target)), index.interval(row.shares, target, bounds)
        filled = dataclasses.replace(empty, n=row.n, floor=row_floor(index, row, target, seed))
        found.append(with_interval(filled, value, interval, index.largest(target)))
    largest = index.largest(target) if defined else 1.0
    return found + over_prompts(found, base, largest=largest, floor=mean_floor(index, rows, target, seed))


def _deviation(rows: Sequence[Row], target: Sequence[float], seed: int, base: Estimate) -> list[Estimate]:
    """Over prompts only. Rows whose strata have one image each are left out: nothing tells their noise."""
    base = dataclasses.replace(base, unit="prompt", abstained=sum(row.abstained for row in rows))
    used = [row for row in rows if squared_deviation(row, target) is not None]
    if not used:
        return [base]
    value, interval = deviation(used, target)
    filled = dataclasses.replace(base, n=sum(row.n for row in used), floor=deviation_floor(used, target, seed))
    found = [with_interval(filled, value, interval)]
    if len(used) >= FEWEST_PROMPTS:
        like_these = hull(deviation_like_these(used, target), interval)
        found.append(with_interval(dataclasses.replace(filled, scope="like-these"), value, like_these))
    return found
