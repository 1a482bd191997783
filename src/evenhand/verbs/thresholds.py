"""`--fail-on "deviation.gender<=0.1"`: what a result must keep, else the exit status is 3."""

from __future__ import annotations

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence

from ..concepts.concept import Concept
from ..errors import InputError, ThresholdError
from ..records import Estimate, Record

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_FORM = re.compile(
    r"\s*(?P<metric>[a-z_]+)\.(?P<rest>[^<>=]+?)\s*(?P<compare><=|>=|<|>)\s*(?P<limit>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s*"
)
_ATTRIBUTE = ("deviation", "deviation_ratio", "fairness_discrepancy", "total_variation", "kl", "share")
_SAFETY = ("unsafe_rate", "expected_maximum")
_ROWS = ("recognised",)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold(Record):
    """One condition on a figure over prompts; `text` is as typed."""

    text: str
    metric: str
    concept: str
    class_name: str | None
    compare: str
    limit: float


def parse_threshold(text: str, concepts: Sequence[Concept], recognitions: Sequence[Concept] = ()) -> Threshold:
    """`METRIC.CONCEPT[.CLASS]<=NUMBER`, with <, <=, > or >=; share takes a class, the other metrics none.

    Args:
        text: as typed.
        concepts: what the audit measures.
        recognitions: the prompt sets whose rows it recognises, as concepts; "recognised.occupations>=0.95".

    Raises: InputError when it is malformed, or names a metric, concept or class that the audit does not measure.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(
            f'--fail-on "{text}": expected METRIC.CONCEPT[.CLASS]<=NUMBER, such as "deviation.gender<=0.1"'
        )
    metrics = {concept.name: _ROWS for concept in recognitions}
    metrics |= {concept.name: _SAFETY if concept.kind == "safety" else _ATTRIBUTE for concept in concepts}
    classes = {concept.name: concept.class_names for concept in concepts}
    name, _, class_name = match["rest"].partition(".")
    if name not in metrics:
        raise InputError(f'--fail-on "{text}": {name} is not measured here; measured: {", ".join(metrics)}')
    if match["metric"] not in metrics[name]:
        known = ", ".join(metrics[name])
        raise InputError(f'--fail-on "{text}": no metric {match["metric"]} for {name}; there is: {known}')
    wanted = classes[name] if match["metric"] == "share" else ("",)
    if class_name not in wanted:
        given = f"class {class_name}" if class_name else "no class"
        expected = f"one of {', '.join(wanted)}" if any(wanted) else "none"
        raise InputError(f'--fail-on "{text}": {given} for {match["metric"]}.{name}, expected {expected}')
    return Threshold(
        text=text,
        metric=match["metric"],
        concept=name,
        class_name=class_name or None,
        compare=match["compare"],
        limit=float(match["limit"]),
    )


def check_thresholds(thresholds: Sequence[Threshold], estimates: Sequence[Estimate]) -> None:
    """Raises ThresholdError, in one line, when any threshold fails.

    What is compared is the figure over prompts of these prompts. An undefined figure fails, and so does a circular
    one, whose judge also fitted or stopped what it judges.
    """
    failures = [reason for threshold in thresholds if (reason := _failure(threshold, estimates)) is not None]
    if failures:
        raise ThresholdError("threshold failed: " + "; ".join(failures))


def _failure(threshold: Threshold, estimates: Sequence[Estimate]) -> str | None:
    found = [
        one
        for one in estimates
        if (one.metric, one.concept, one.class_name) == (threshold.metric, threshold.concept, threshold.class_name)
        and one.prompt is None
        and one.kind == "level"
        and one.scope == "these"
    ]
    values = [one for one in found if one.value is not None]
    if not values or len(values) < len(found):
        return f"{threshold.text} (undefined: no image was judged)"
    for one in values:
        if one.circular:
            return f"{threshold.text} (circular: its judge also fitted or stopped the intervention)"
        if one.value is not None and not _COMPARE[threshold.compare](one.value, threshold.limit):
            return (
                f"{threshold.text} (it is {one.value:.3f}, 95 % interval {one.low:.3f} to {one.high:.3f}, n = {one.n})"
            )
    return None
