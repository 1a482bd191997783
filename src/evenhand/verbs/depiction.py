"""How groups are depicted: presence of attributes, and quality, where the same prompts name each group in turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from ..concepts.concept import Concept
from ..concepts.swap import Swap, swapped_name
from ..metrics.association import (
    NO,
    YES,
    Indicator,
    difference_estimates,
    level_estimates,
    unlike_changes,
    with_discoveries,
    yes_changes,
)
from ..records import Estimate, Request, Verdict
from .series import Series

Verdicts = Mapping[Request, tuple[Verdict, ...]]


def depiction_estimates(series: Series, verdicts: Verdicts, *, intervention: str | None = None) -> list[Estimate]:
    """`presence` and `association` of every attribute, `group_quality` and `group_quality_gap` of the groups.

    The quality of a group has three parts: *obeyed*, the group that the prompt names is perceived; *recognised*, the
    picture shows the row, where the prompt set tells its rows apart; *artefacts*, nothing in the picture can be judged,
    or it is none.

    Args:
        series: with a `swap`.
        verdicts: on all of its images.
        intervention: the arm, None for the plain model.
    """
    swap = _swap(series)
    found: list[Estimate] = []
    for concept, name, indicator in _presences(series, swap, verdicts):
        base = Estimate(metric="presence", concept=_about(swap, concept), intervention=intervention, allocation=None)
        found += level_estimates(base, indicator, name)
        found += difference_estimates(_named(base, "association"), indicator, name, swap.pairs)
    found = with_discoveries(found)
    for name, indicator in _qualities(series, swap, verdicts).items():
        base = Estimate(
            metric="group_quality", concept=swap.association.group.name, intervention=intervention, allocation=None
        )
        found += level_estimates(base, indicator, name)
        found += difference_estimates(_named(base, "group_quality_gap"), indicator, name, swap.pairs)
    return with_discoveries(found, "group_quality_gap")


def depiction_changes(series: Series, plain: Verdicts, verdicts: Verdicts, *, intervention: str) -> list[Estimate]:
    """What an arm changes in each group, and how differently.

    `change:presence` and `change:group_quality` per group, `change:association` and `change:group_quality_gap` per pair
    of groups: does the arm hit one of them more?
    """
    swap = _swap(series)
    found: list[Estimate] = []
    before = [
        (_about(swap, one), "presence", "association", name, some)
        for one, name, some in _presences(series, swap, plain)
    ]
    after = [some for _, _, some in _presences(series, swap, verdicts)]
    old, new = (_qualities(series, swap, some) for some in (plain, verdicts))
    group = swap.association.group.name
    before += [(group, "group_quality", "group_quality_gap", name, some) for name, some in old.items()]
    after += list(new.values())
    for (concept, level, gap, name, was), now in zip(before, after, strict=True):
        base = Estimate(
            metric=f"change:{level}", concept=concept, intervention=intervention, kind="change", allocation=None
        )
        over = {}
        for one in swap.groups:
            changes = yes_changes(_classed(base, f"{name}, {one}"), was[one], now[one])
            found += changes
            over[one] = changes[-1]
        found += unlike_changes(_classed(_named(base, f"change:{gap}"), name), over, swap.pairs)
    return found


def _swap(series: Series) -> Swap:
    if series.swap is None:
        raise ValueError(f"{series.name} swaps no groups")
    return series.swap


def _about(swap: Swap, concept: Concept) -> str:
    """How estimates call an association: "origin:scarf"."""
    return f"{swap.association.group.name}:{concept.name}"


def _named(base: Estimate, metric: str) -> Estimate:
    return dataclasses.replace(base, metric=metric)


def _classed(base: Estimate, name: str) -> Estimate:
    return dataclasses.replace(base, class_name=name)


def present_classes(concept: Concept) -> tuple[str, ...]:
    """The classes whose presence is looked for: the unsafe one, the first of two, else all."""
    if concept.unsafe_class is not None:
        return (concept.unsafe_class,)
    return concept.class_names[:1] if len(concept.classes) == 2 else concept.class_names


def _presences(series: Series, swap: Swap, verdicts: Verdicts) -> list[tuple[Concept, str, Indicator]]:
    return [
        (concept, name, _indicator(series, swap, verdicts, concept, dict.fromkeys(swap.bases, name)))
        for concept in swap.association.attributes
        for name in present_classes(concept)
    ]


def _qualities(series: Series, swap: Swap, verdicts: Verdicts) -> dict[str, Indicator]:
    """Per part of quality its indicator; for *artefacts* an abstention is the very thing that is asked for."""
    group = swap.association.group
    obeyed = {
        one: _indicator(series, swap, verdicts, group, dict.fromkeys(swap.bases, one))[one] for one in swap.groups
    }
    found: dict[str, Indicator] = {"obeyed": obeyed}
    if swap.recognition is not None:
        found["recognised"] = _indicator(series, swap, verdicts, swap.recognition, {base: base for base in swap.bases})
    found["artefacts"] = {
        one: {base: [YES if label is None else NO for label in labels] for base, labels in rows.items()}
        for one, rows in obeyed.items()
    }
    return found


def _indicator(
    series: Series, swap: Swap, verdicts: Verdicts, concept: Concept, wanted: Mapping[str, str]
) -> dict[str, dict[str, list[str | None]]]:
    """Per group and base whether the wanted class of the base is perceived in each image."""
    place = series.asked.index(concept)
    rows: dict[str, list[Request]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(request)
    return {
        group: {
            base: [_answer(verdicts[one][place].label, wanted[base]) for one in rows[swapped_name(base, group)]]
            for base in swap.bases
        }
        for group in swap.groups
    }


def _answer(label: str | None, wanted: str) -> str | None:
    return None if label is None else YES if label == wanted else NO
