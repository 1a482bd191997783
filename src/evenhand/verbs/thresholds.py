"""`--fail-on "deviation.gender.high<=0.1"`: what a result must keep, else the exit status is 3."""

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
    r"\s*(?P<metric>[a-z_:]+)\.(?P<rest>[^<>=]+?)\s*(?P<compare><=|>=|<|>)\s*(?P<limit>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)\s*"
)
_OF_CLASSES = ("share", "corrected:share", "calibrated:share")
_ATTRIBUTE = (
    "deviation",
    "deviation_ratio",
    "fairness_discrepancy",
    "total_variation",
    "kl",
    *_OF_CLASSES,
    "agreement",
)
_SAFETY = ("unsafe_rate", "corrected:unsafe_rate", "calibrated:unsafe_rate", "expected_maximum", "agreement")
_ROWS = ("recognised", "agreement")
_SET = "refusal_rate"
_ENDS = ("value", "low", "high")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold(Record):
    """One condition on a figure over prompts, or on an end of its interval; `text` is as typed."""

    text: str
    metric: str
    concept: str
    class_name: str | None
    compare: str
    limit: float
    end: str = "value"


def parse_threshold(
    text: str, concepts: Sequence[Concept], recognitions: Sequence[Concept] = (), sets: Sequence[str] = ()
) -> Threshold:
    """`METRIC.CONCEPT[.CLASS][.low|.high]<=NUMBER`, with <, <=, > or >=; shares take a class, the other metrics none.

    An end of the 95 % interval asks for proof: "deviation.gender.high<=0.1" fails unless the interval says so, while
    "deviation.gender<=0.1" looks at the estimate alone.

    Args:
        text: as typed.
        concepts: what the audit measures.
        recognitions: the prompt sets whose rows it recognises, as concepts; "recognised.occupations>=0.95".
        sets: names of all prompt sets; "refusal_rate.occupations<=0.02".

    Raises: InputError when it is malformed, or names a metric, concept or class that the audit does not measure.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(
            f'--fail-on "{text}": expected METRIC.CONCEPT[.CLASS][.low|.high]<=NUMBER, such as "deviation.gender<=0.1"'
        )
    metrics: dict[str, tuple[str, ...]] = dict.fromkeys(sets, (_SET,))
    metrics |= {concept.name: (*_ROWS, _SET) for concept in recognitions}
    metrics |= {concept.name: _SAFETY if concept.kind == "safety" else _ATTRIBUTE for concept in concepts}
    classes = {concept.name: concept.class_names for concept in concepts}
    # A name may hold points itself, as that of a prompt file does: the longest that is known is meant.
    known = [one for one in metrics if match["rest"] == one or match["rest"].startswith(one + ".")]
    if not known:
        name = match["rest"].partition(".")[0]
        raise InputError(f'--fail-on "{text}": {name} is not measured here; measured: {", ".join(metrics)}')
    name = max(known, key=len)
    if match["metric"] not in metrics[name]:
        listed = ", ".join(metrics[name])
        raise InputError(f'--fail-on "{text}": no metric {match["metric"]} for {name}; there is: {listed}')
    wanted = classes[name] if match["metric"] in _OF_CLASSES else ("",)
    class_name, end = _class_and_end(match["rest"][len(name) :].lstrip("."), wanted)
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
        end=end,
    )


def _class_and_end(rest: str, classes: Sequence[str]) -> tuple[str, str]:
    """Of "female.high", "high" or "female"; a class that is called like an end is a class."""
    if rest in classes:
        return rest, "value"
    front, _, last = rest.rpartition(".")
    return (front, last) if last in _ENDS else (rest, "value")


def outcomes(thresholds: Sequence[Threshold], estimates: Sequence[Estimate]) -> dict[str, str | None]:
    """For each condition, as typed, why it fails; None where it holds."""
    return {one.text: _failure(one, estimates) for one in thresholds}


def check_thresholds(thresholds: Sequence[Threshold], estimates: Sequence[Estimate]) -> None:
    """Raises ThresholdError, in one line, when any threshold fails.

    What is compared is the figure over prompts of these prompts. An undefined figure fails, and so does a circular
    one, whose judge also fitted or stopped what it judges.
    """
    failures = [reason for reason in outcomes(thresholds, estimates).values() if reason is not None]
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
    if not found:
        return f"{threshold.text} (the result does not state it)"
    if not values or len(values) < len(found):
        return f"{threshold.text} (undefined: no image was judged)"
    for one in values:
        if one.circular:
            return f"{threshold.text} (circular: its judge also fitted or stopped the intervention)"
        bounds = {"value": one.value, "low": one.low, "high": one.high}
        looked_at = bounds[threshold.end]
        if looked_at is not None and not _COMPARE[threshold.compare](looked_at, threshold.limit):
            return (
                f"{threshold.text} (it is {one.value:.3f}, 95 % interval {one.low:.3f} to {one.high:.3f}, n = {one.n})"
            )
    return None
