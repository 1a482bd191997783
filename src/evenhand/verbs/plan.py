"""Plan: how many images, and minutes, does an answer take? From a short timing run and the statistics of the audit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..metrics.classifier_error import JudgeError, corrected_rate
from ..metrics.decision import images_for_biased_verdict, images_for_fair
from ..metrics.not_worse import pairs_not_worse
from ..metrics.sequences import confidence_sequence, images_for_sequence
from ..watch import Silent, Watcher
from .config import AuditConfig, half_width_at, images_for
from .endpoint import is_endpoint
from .prepare import MARGIN, Prepared, prepare
from .registration import lock
from .series import Series, main_series

SCHEMA = "evenhand.plan-of-images/1"
PRECISIONS = (0.1, 0.05, 0.03)
"""Half-widths that are planned for where none is asked for."""
POWER = 0.9
_WORSE, _CHANGED = 0.03, 0.04
"""Of a release gate, `evenhand diff --gate not-inferior`."""
_CLAIMS = {0.01: 299, 0.001: 2995}
"""Unsafe rates that zero of n images bound at 95 %: the least n with 1 - .05^(1/n) below them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Goal:
    """One thing that an audit could be after, with the images that it takes.

    Args:
        series: name of the prompt set.
        concept: its name.
        text: what is reached, in words.
        per_prompt: images per prompt.
        images: of all prompts.
        chosen: whether it is what was asked for.
        most: whether the images are the most that it takes.
    """

    series: str
    concept: str
    text: str
    per_prompt: int
    images: int
    chosen: bool = False
    most: bool = False

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return dataclasses.asdict(self)


def plan(config: AuditConfig, watcher: Watcher | None = None, *, timing: bool = True, to: Path | None = None) -> Any:
    """The plan of an audit, as a dict that `json` can write.

    Args:
        config: the audit; its images per prompt or precision are planned beside the usual goals.
        watcher: told of progress; None for nobody.
        timing: make and judge two batches and time the second; else there are no minutes.
        to: where to lock the audit, None for nowhere.

    Raises: InputError (or a subclass) as the audit would; for a lock file that holds another plan.
    Cost: two batches of images, which are not kept.
    """
    prepared = prepare(config)
    timed = (
        _timed(prepared, watcher or Silent()) if timing and not (prepared.items or is_endpoint(config.source)) else {}
    )
    confusion = (timed.get("judge") or {}).get("confusion") or {}
    goals = [
        goal
        for one in main_series(prepared.series)
        for concept in one.concepts
        for goal in _goals(prepared, one, concept)
    ]
    seconds = timed.get("seconds_per_image")
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "source": config.source,
        "margin": MARGIN,
        "images": prepared.images,
        "seconds_per_image": seconds,
        "evaluations_per_image": timed.get("evaluations_per_image"),
        "minutes": None if seconds is None else prepared.images * seconds / 60,
        "goals": [
            {**one.to_dict(), "minutes": None if seconds is None else one.images * seconds / 60} for one in goals
        ],
        "judge_widens": _widened(prepared, confusion),
    }
    if to is not None:
        known = lock(to, prepared, (timed.get("judge") or {}).get("hash"))
        found["lock"] = {"file": str(to), "hash": known["hash"], "when": known["when"]}
    return found


def _timed(prepared: Prepared, watcher: Watcher) -> dict[str, Any]:
    """Seconds and evaluations per image of a second batch, and the judge's card; loading is not counted."""
    from .audit import open_source  # needs torch

    opened = open_source(prepared, watcher)
    source, facts = opened.source, opened.facts
    series = prepared.series[0]
    batch = max(1, min(int(facts["batch_size"]), len(series.requests)))
    requests = [series.requests[place % len(series.requests)] for place in range(batch)]
    watcher.start("timing", total=2 * batch, done=0)
    seconds = evaluations = 0.0
    for _ in range(2):  # the first warms up
        before, started = source.evaluations, time.perf_counter()
        samples = []
        for sample in source.samples(requests, batch):
            samples.append(sample)
            watcher.advance()
        source.judge(samples, series.asked)
        seconds, evaluations = time.perf_counter() - started, float(source.evaluations - before)
    return {
        "seconds_per_image": seconds / batch,
        "evaluations_per_image": evaluations / batch,
        "judge": facts["judge"],
    }


def _goals(prepared: Prepared, series: Series, concept: Concept) -> Iterator[Goal]:
    rows, effort = len(series.rows), prepared.config.effort

    def goal(text: str, per_prompt: int, **more: bool) -> Goal:
        return Goal(
            series=series.name,
            concept=concept.name,
            text=text,
            per_prompt=per_prompt,
            images=rows * per_prompt,
            **more,
        )

    what = "unsafe rate" if concept.kind == "safety" else "share"
    precisions = PRECISIONS if effort.precision is None else (effort.precision,)
    if effort.precision is None:
        n = len(series.requests) // rows
        half, holds = half_width_at(n), ""
        if effort.any_time:
            low, high = confidence_sequence(n // 2, n)
            half, holds = (high - low) / 2, ", whenever one stops"
        text = f"as asked: the {what} of a prompt to +-{half:.3f}{holds}"
        yield goal(text, n, chosen=True, most=effort.until_decided)
    for width in precisions:
        yield goal(f"the {what} of a prompt to +-{width:g}", images_for(width))
        level = 1 - 0.05 / (len(concept.classes) if len(concept.classes) > 2 else 1)
        stops = images_for_sequence(width, level)
        asked = effort.precision is not None and effort.stops
        yield goal(f"the same with --precision {width:g}", stops, chosen=asked, most=True)
    if concept.kind == "safety":
        for rate, n in _CLAIMS.items():
            per_prompt = -(-n // rows)
            yield goal(f"below {rate:.1%} over all prompts, if none is unsafe", per_prompt)
        pairs = pairs_not_worse(_CHANGED, _WORSE, POWER)
        text = f"not worse by {_WORSE:g} than another model, if {_CHANGED:.0%} of the pairs change, power {POWER:g}"
        yield goal(text, -(-pairs // rows))
        return
    yield goal(f"a fair prompt is called fair, power {POWER:g}", images_for_fair(concept.reference, MARGIN, POWER))
    for excess in (0.1, 0.2):
        if min(concept.reference) + MARGIN + excess <= 1:
            n = images_for_biased_verdict(excess, MARGIN, POWER, concept.reference)
            yield goal(f"a miss of {MARGIN + excess:.1f} is called biased, power {POWER:g}", n)


def _widened(prepared: Prepared, confusion: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For concepts of two classes how wide a rate of one half is per prompt, as read and corrected for the judge."""
    found = []
    for one in prepared.series:
        n = len(one.requests) // len(one.rows)
        for concept in one.concepts:
            if len(concept.classes) != 2 or concept.name not in confusion:
                continue
            error = JudgeError.of(confusion[concept.name], 0)
            if error.sensitivity + error.specificity <= 1:
                continue
            _, (low, high) = corrected_rate(n / 2, n, error)
            found.append({"concept": concept.name, "n": n, "read": half_width_at(n), "corrected": (high - low) / 2})
    return found
