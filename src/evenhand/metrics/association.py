"""Differences between groups that a prompt names in turn, from the same seeds.

An *indicator* says of every image of a group whether something is there. Between two groups it gives a paired risk
difference per row (Newcombe's method 10) and over rows, with the exact p-value of McNemar's test; over many indicators
the p-values are corrected by Benjamini and Hochberg (JRSS B 1995).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy.stats import false_discovery_control, t

from ..records import Estimate
from .changes import Labels, rate_changes
from .intervals import square_and_add, student_t, wilson
from .over_prompts import FEWEST_PROMPTS, counted, over_prompts, with_interval

YES, NO = "yes", "no"
LEVEL = 0.05
"""False discovery rate at which an association is called found."""

Indicator = Mapping[str, Labels]
"""Per group and row "yes", "no" or, where the judge abstained, None for every image; in the order of the seeds."""


def versus(first: str, second: str) -> str:
    """How an estimate calls the difference of two groups, first less second."""
    return f"{first} over {second}"


def level_estimates(base: Estimate, indicator: Indicator, what: str) -> list[Estimate]:
    """How often it is there in each group, per row and over rows, by Wilson; the class is "WHAT, GROUP"."""
    found: list[Estimate] = []
    for group, rows in indicator.items():
        named = dataclasses.replace(base, class_name=f"{what}, {group}")
        some = [_rate(named, row, labels) for row, labels in rows.items()]
        found += some + over_prompts(some, named, parts=counted(some))
    return found


def difference_estimates(
    base: Estimate, indicator: Indicator, what: str, pairs: Sequence[tuple[str, str]]
) -> list[Estimate]:
    """The risk difference of every pair of groups, per row and over rows; the class is "WHAT, A over B".

    Images of which either was abstained on are left out and counted.
    """
    found: list[Estimate] = []
    for first, second in pairs:
        named = dataclasses.replace(base, kind="change", class_name=f"{what}, {versus(first, second)}")
        found += yes_changes(named, indicator[second], indicator[first])
    return found


def yes_changes(base: Estimate, before: Labels, after: Labels) -> list[Estimate]:
    """The change of the rate of "yes" per row and, last, over rows."""
    return rate_changes(base, before, after, YES)


def with_discoveries(
    estimates: Sequence[Estimate], metric: str = "association", *, decide: bool = True
) -> list[Estimate]:
    """The q-values of the differences over rows among themselves; those of at most 5 % are called "biased".

    Args:
        estimates: of one arm; only those over rows of `metric` that have a p-value take part.
        metric: the one whose tests are a family.
        decide: False states q-values alone, for differences that the mere name of a group could make.
    """
    places = [
        k for k, one in enumerate(estimates) if one.metric == metric and one.prompt is None and one.p_value is not None
    ]
    found = list(estimates)
    if not places:
        return found
    values = false_discovery_control([found[k].p_value for k in places], method="bh")
    for k, value in zip(places, values, strict=True):
        decision = "biased" if decide and value <= LEVEL else None
        found[k] = dataclasses.replace(found[k], q_value=float(value), decision=decision)
    return found


def unlike_changes(base: Estimate, changes: Mapping[str, Estimate], pairs: Iterable[tuple[str, str]]) -> list[Estimate]:
    """How differently an arm moves two groups: the change in one less that in the other, over rows.

    The two share their seeds, and their intervals are squared and added as if they did not: what they have in common
    makes the interval too wide rather than too narrow.

    Args:
        base: metric and concept; its class gets the pair behind it.
        changes: per group the paired change over rows.
        pairs: of groups.
    """
    found = []
    for first, second in pairs:
        one, two = changes[first], changes[second]
        named = dataclasses.replace(
            base, kind="change", unit="prompt", class_name=f"{base.class_name}, {versus(first, second)}"
        )
        if one.value is None or two.value is None:
            found.append(named)
            continue
        bounds = [(one.low or 0.0, one.high or 0.0), (-(two.high or 0.0), -(two.low or 0.0))]
        low, high = square_and_add([one.value, -two.value], bounds, [1.0, 1.0])
        value = one.value - two.value
        found.append(
            dataclasses.replace(
                named, value=value, low=min(low, value), high=max(high, value), n=min(one.n, two.n),
                abstained=max(one.abstained, two.abstained),
            )
        )  # fmt: skip
    return found


def likeness_differences(
    base: Estimate, likeness: Mapping[str, Mapping[str, Sequence[float]]], pairs: Iterable[tuple[str, str]]
) -> list[Estimate]:
    """How much more alike to a text one group is than another: the mean paired difference of cosines over rows.

    Its interval is Student's t over the rows, from ten rows on; with fewer over all pairs of images, which then stands
    for these rows only. The p-value is that of the same t-test.

    Args:
        base: metric, concept and intervention.
        likeness: per group and row the cosines of its images, or of its prompts, in the same order.
        pairs: of groups.
    """
    found = []
    for first, second in pairs:
        named = dataclasses.replace(base, kind="change", unit="prompt", class_name=versus(first, second))
        rows = [
            np.asarray(likeness[first][row], dtype=float) - np.asarray(likeness[second][row], dtype=float)
            for row in likeness[first]
        ]
        rows = [row for row in rows if len(row)]
        whole = len(rows) >= FEWEST_PROMPTS
        values = [float(row.mean()) for row in rows] if whole else [float(v) for row in rows for v in row]
        if len(values) < 2:
            found.append(named)
            continue
        mean = float(np.mean(values))
        low, high = student_t(values)
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        p_value = float(2 * t.sf(abs(mean) / error, len(values) - 1)) if error > 1e-12 else float(abs(mean) < 1e-12)
        found.append(
            dataclasses.replace(
                named, value=mean, low=min(low, mean), high=max(high, mean), n=sum(len(row) for row in rows),
                scope="like-these" if whole else "these", p_value=p_value,
            )
        )  # fmt: skip
    return found


def _rate(base: Estimate, row: str, labels: Sequence[str | None]) -> Estimate:
    known = [one for one in labels if one is not None]
    empty = dataclasses.replace(base, prompt=row, n=len(known), abstained=len(labels) - len(known))
    k = known.count(YES)
    return with_interval(empty, k / len(known), wilson(k, len(known))) if known else empty
