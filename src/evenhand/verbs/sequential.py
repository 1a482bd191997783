"""Audits that stop by themselves, prompt by prompt: when the verdict is reached, or the shares are known well enough.

Both may look as often as they like, since what they look at are confidence sequences.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..concepts.concept import Concept
from ..engine import Engine, Source
from ..errors import InputError
from ..metrics.decision import row_decision
from ..metrics.intervals import CONFIDENCE, Interval, simultaneous
from ..metrics.sequences import bias_evidence, confidence_sequence, decide_at_any_time, e_benjamini_hochberg
from ..records import Estimate, Request, Settings, Verdict
from ..store import RunDirectory
from ..watch import Watcher
from .arm import Arm
from .config import Effort
from .observe import observe
from .series import Series

ROUND = 8
"""Images of a prompt between two looks. Looking costs nothing in error, making images one by one would cost time."""
FALSE_DISCOVERIES = 0.05
ANY_TIME = ("deviation", "share", "unsafe_rate")
"""What a run that stopped at a precision states over prompts."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a prompt has enough images.

    Args:
        margin: of the verdict that is waited for where there is no precision.
        precision: half-width that the sequences of all shares may have, None to wait for the verdict, 0 for never.
    """

    margin: float
    precision: float | None = None

    def met(self, concept: Concept, counts: Sequence[int]) -> bool:
        """Whether these counts of one prompt say enough of a concept; safety has no verdict to wait for."""
        if self.precision is None:
            if concept.kind == "safety":
                return True
            decided = decide_at_any_time(counts, concept.reference, self.margin)
            return row_decision(decided) in ("fair", "biased")
        widths = [high - low for low, high in _sequences(concept, counts).values()]
        return max(widths) <= 2 * self.precision


def observe_until(
    rule: Rule,
    source: Source,
    run: RunDirectory,
    series: Series,
    settings: Settings,
    watcher: Watcher,
    *,
    arm: str | None = None,
    engine: Engine | None = None,
) -> tuple[Series, dict[Request, tuple[Verdict, ...]]]:
    """Make and judge images of each prompt until the rule is met for all of its concepts, at most those of the series.

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
        verdicts |= observe(source, run, part, settings, watcher, arm=arm, engine=engine)
        used += some
        open_rows = {row: left[ROUND:] for row, left in open_rows.items()}
        for row in open_rows:
            if _enough(rule, series, row, used, verdicts):
                open_rows[row] = []
    made = set(used)
    return dataclasses.replace(series, requests=tuple(one for one in series.requests if one in made)), verdicts


def check_stopping(effort: Effort, series: Sequence[Series], *, folder: bool) -> None:
    """Raises InputError where images are made already, or a prompt set is asked for nothing that can be decided."""
    option = "--any-time" if effort.any_time else "--until-decided" if effort.precision is None else "--precision"
    if folder:
        raise InputError(f"{option}: the images of a folder are made already; leave it out")
    for one in series:
        if effort.until_decided and all(concept.kind == "safety" for concept in one.concepts):
            raise InputError(
                f"--until-decided: {', '.join(concept.name for concept in one.concepts)} has no target that it could "
                "be fair to; give --precision or --images-per-prompt, or ask about an attribute"
            )


def check_allocation(arm: Arm) -> None:
    """Raises InputError where an arm gives classes by quotas: images are then predictable from those before."""
    quotas = [name for name, one in arm.assigned.items() if one.mode == "stratified"]
    if quotas:
        raise InputError(
            f"{arm.name} gives {quotas[0]} by quotas, and a confidence sequence of images that can be predicted says "
            "nothing: give allocation=iid, or --images-per-prompt alone"
        )


def any_time_estimates(estimates: Sequence[Estimate], series: Series, rule: Rule) -> list[Estimate]:
    """What may be said of a run that stopped by its own numbers: rates with confidence sequences, and verdicts.

    Intervals for a fixed number of images do not hold there, so no other estimate is kept. With a precision the figure
    over the prompts is stated too, from sequences that hold for all prompts at once.
    """
    found: list[Estimate] = []
    for concept in series.concepts:
        metric = "unsafe_rate" if concept.kind == "safety" else "share"
        rows = []
        for row in series.rows:
            own = [one for one in estimates if _of(one, metric, concept, row)]
            rows.append(_row(own, concept, rule.margin))
        found += [one for row in rows for one in row]
        if rule.precision is not None:
            over = [one for one in estimates if any(_of(one, name, concept) for name in (metric, "deviation"))]
            found += [_over_prompts(one, concept, rows) for one in over if one.value is not None]
    return found


def discoveries(estimates: Sequence[Estimate], concepts: Sequence[Concept], margin: float) -> list[dict[str, Any]]:
    """Per attribute the prompts that are biased when all prompts are asked at once: at most 5 % of them falsely so.

    By the e-values of the counts (e-BH), which hold whenever a prompt stopped.
    """
    found = []
    for concept in concepts:
        if concept.kind == "safety":
            continue
        own = [one for one in estimates if one.metric == "share" and one.concept == concept.name and one.prompt]
        rows = list(dict.fromkeys(str(one.prompt) for one in own))
        counts = [[_count(one) for one in own if one.prompt == row] for row in rows]
        evidence = [bias_evidence(one, concept.reference, margin) for one in counts]
        chosen = e_benjamini_hochberg(evidence, FALSE_DISCOVERIES)
        names = [row for row, taken in zip(rows, chosen, strict=True) if taken]
        found.append({"concept": concept.name, "level": FALSE_DISCOVERIES, "of": len(rows), "prompts": names})
    return found


def _of(one: Estimate, metric: str, concept: Concept, row: str | None = None) -> bool:
    found = (one.metric, one.concept, one.prompt, one.kind, one.scope)
    return found == (metric, concept.name, row, "level", "these")


def _count(one: Estimate) -> int:
    return round((one.value or 0.0) * one.n)


def _row(rates: Sequence[Estimate], concept: Concept, margin: float) -> list[Estimate]:
    counts = [_count(one) for one in rates]
    attribute = concept.kind == "attribute"
    decisions = decide_at_any_time(counts, concept.reference, margin) if attribute else (None,) * len(counts)
    level = simultaneous(len(rates))
    found = []
    for one, k, decision in zip(rates, counts, decisions, strict=True):
        if one.n == 0:
            found.append(one)
            continue
        low, high = confidence_sequence(k, one.n, level)
        found.append(dataclasses.replace(one, value=k / one.n, low=low, high=high, decision=decision))
    return found


def _over_prompts(fixed: Estimate, concept: Concept, rows: Sequence[Sequence[Estimate]]) -> Estimate:
    """The figure over prompts inside the bounds that follow from sequences of all rows and classes at once.

    Each of P rows has a P-th of the error. A rate lies within the mean of its bounds; a deviation is the root of the
    mean square of misses, the least and the largest that the bounds allow.
    """
    used = [[one for one in row if one.n] for row in rows if any(one.n for one in row)]
    level = 1 - (1 - CONFIDENCE) / (len(used) * (len(concept.classes) if len(concept.classes) > 2 else 1))
    bounds = np.array([[confidence_sequence(_count(one), one.n, level) for one in row] for row in used])
    if fixed.metric != "deviation":
        place = 0 if fixed.class_name is None else concept.class_names.index(fixed.class_name)
        low, high = bounds.mean(axis=0)[place]
    else:
        miss = bounds - np.asarray(concept.reference)[None, :, None]
        least = np.where(miss[..., 0] * miss[..., 1] <= 0, 0.0, np.abs(miss).min(axis=-1))
        squares = [0.5 * (one**2).sum(axis=1).mean() for one in (least, np.abs(miss).max(axis=-1))]
        low, high = (float(np.sqrt(one)) for one in squares)
    value = min(max(fixed.value or 0.0, float(low)), float(high))
    return dataclasses.replace(fixed, value=value, low=float(low), high=float(high), floor=None)


def _sequences(concept: Concept, counts: Sequence[int]) -> dict[str, Interval]:
    """The sequence of every class, for safety of the unsafe one alone."""
    wanted = concept.class_names if concept.unsafe_class is None else (concept.unsafe_class,)
    n, level = sum(counts), simultaneous(len(wanted))
    return {
        name: confidence_sequence(k, n, level)
        for name, k in zip(concept.class_names, counts, strict=True)
        if name in wanted
    }


def _enough(
    rule: Rule, series: Series, row: str, used: Sequence[Request], verdicts: Mapping[Request, tuple[Verdict, ...]]
) -> bool:
    own = [request for request in used if request.row == row]
    for concept in series.concepts:
        place = series.asked.index(concept)
        labels = [verdicts[request][place].label for request in own]
        if not rule.met(concept, [labels.count(name) for name in concept.class_names]):
            return False
    return True
