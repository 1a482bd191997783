"""The words of a report: what each metric is called, what it means, and how numbers are written."""

from __future__ import annotations

import dataclasses

from ..records import Estimate

_FROM_SHARES = "follows from intervals that hold for all shares at once; over prompts squared and added"
NOTHING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_SPACE = "\u00a0"


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is named and explained; `percent` metrics are rates and written as percentages."""

    title: str
    meaning: str
    interval: str
    percent: bool = False


METRICS: dict[str, Metric] = {
    "share": Metric(
        "share",
        "how often the class is perceived among the pictures that could be judged",
        "Wilson for two classes; Goodman, which holds for all classes at once, for more; over prompts those of the "
        "prompts, squared and added",
        percent=True,
    ),
    "success": Metric(
        "success per assigned class",
        "how often a picture shows the class that it was assigned",
        "Clopper-Pearson",
        percent=True,
    ),
    "deviation": Metric(
        "deviation from the target",
        "root mean square distance of the shares from the target over the prompts, corrected for chance; "
        "0 is none, and opposite biases do not cancel",
        "made on the square, from the variances of the prompts, then the root is taken",
    ),
    "deviation_ratio": Metric(
        "deviation ratio",
        "largest distance of any class from its target, as a part of the largest distance possible; "
        "chance alone makes it positive, so it stands beside its floor",
        _FROM_SHARES,
    ),
    "fairness_discrepancy": Metric(
        "fairness discrepancy",
        "Euclidean distance of the shares from the target",
        _FROM_SHARES,
    ),
    "total_variation": Metric(
        "total variation",
        "part of the pictures that would have to change class to reach the target",
        _FROM_SHARES,
    ),
    "kl": Metric(
        "Kullback-Leibler divergence",
        "divergence of the shares from the target, in nats",
        _FROM_SHARES,
    ),
    "unsafe_rate": Metric("unsafe rate", "how often something unsafe is perceived", "Clopper-Pearson", percent=True),
    "expected_maximum": Metric(
        "expected maximum",
        "unsafe rate of the worst of 25 prompts, on the mean over all choices of 25",
        "the prompts resampled",
        percent=True,
    ),
    "refusal_rate": Metric(
        "refusals", "how often the endpoint refused to make a picture", "Clopper-Pearson", percent=True
    ),
    "agreement": Metric(
        "agreement of the judges",
        "Krippendorff's alpha over the labels of the panel's members; 1 is perfect, 0 is what chance gives",
        "the pictures resampled",
    ),
    "recognised": Metric(
        "recognised", "how often the picture is recognised as what was asked for", "Wilson", percent=True
    ),
    "text_image_score": Metric(
        "text-image score",
        "how well pictures fit their prompt: 1 as the plain pictures, 0 as pictures of other prompts",
        "Student's t over the prompts",
    ),
    "mmd": Metric(
        "discrepancy of pictures",
        "squared maximum mean discrepancy from the plain pictures, within what is perceived; 0 is none, 1 is that "
        "between two prompts",
        "Student's t over the prompts",
    ),
    "cmmd": Metric("CMMD", "the discrepancy with its published constants", "Student's t over the prompts"),
    "vendi": Metric(
        "variety",
        "effective number of different pictures (Vendi score) over that of the plain ones",
        "Student's t over the prompts",
    ),
    "drift": Metric(
        "drift",
        "how far a picture moved from the plain one of its seed; 1 is the distance between two seeds",
        "Student's t over the prompts",
    ),
    "attack_success": Metric(
        "attack success",
        "how often a picture of the words that a search found is perceived as unsafe; a lower limit, since another "
        "search may find more",
        "Clopper-Pearson",
        percent=True,
    ),
    "off_topic": Metric(
        "off topic", "how often such a picture no longer shows what was asked for", "Clopper-Pearson", percent=True
    ),
    "on_topic_success": Metric(
        "attack success on topic",
        "how often such a picture is unsafe and still shows what was asked for",
        "Clopper-Pearson",
        percent=True,
    ),
    "attack_gain": Metric(
        "gain of the search",
        "attack success less the unsafe rate of the goals' own prompts, from the same seeds",
        "Newcombe's for pairs; over goals squared and added",
        percent=True,
    ),
    "over_refusal": Metric(
        "over-refusal",
        "how often a harmless thing that was asked for, and looks like an unsafe one, is not shown: refused, or taken "
        "away",
        "Clopper-Pearson",
        percent=True,
    ),
    "false_alarm": Metric(
        "false alarms",
        "how often a picture that was asked for something harmless is perceived as unsafe",
        "Clopper-Pearson",
        percent=True,
    ),
    "benign_drift": Metric(
        "drift of harmless pictures",
        "how far a picture of something harmless moved from the plain one of its seed; 1 is the distance between two "
        "seeds",
        "Student's t over the prompts",
    ),
    "presence": Metric(
        "presence", "how often it is perceived where the prompt names the group", "Wilson", percent=True
    ),
    "association": Metric(
        "difference between groups",
        "how much more often it is perceived where the prompt names the first group, from the same seeds",
        "Newcombe's for pairs, per prompt; over prompts squared and added",
        percent=True,
    ),
    "text_association": Metric(
        "association of texts",
        "how much nearer a text is to prompts that name the first group, in the judge's space",
        "Student's t over the prompts, from ten on; else over the prompts' texts",
    ),
    "image_association": Metric(
        "association of pictures",
        "how much nearer a text is to pictures of the first group, in the judge's space",
        "Student's t over the prompts, from ten on; else over pairs of pictures",
    ),
    "group_quality": Metric("quality for a group", "", "Wilson; of a text-image score Student's t over the prompts"),
    "group_quality_gap": Metric(
        "difference of quality",
        "quality for the first group less that for the second, from the same seeds",
        "Newcombe's for pairs, per prompt; of a text-image score Student's t",
    ),
    "group_drift": Metric(
        "drift of a group's pictures",
        "how far they moved from the plain ones of their seeds; 1 is the distance between two seeds",
        "Student's t over the prompts",
    ),
    "group_drift_gap": Metric(
        "difference of drift", "drift for the first group less that for the second", "squared and added"
    ),
    "obeyed": Metric(
        "obeyed", "how often an attribute that the prompt names is shown", "Clopper-Pearson", percent=True
    ),
}
"""Metrics that are explained in words; any other one is shown under its own name."""

HEADLINES = (
    "deviation",
    "deviation_ratio",
    "unsafe_rate",
    "corrected:unsafe_rate",
    "calibrated:unsafe_rate",
    "expected_maximum",
    "attack_success",
    "on_topic_success",
    "off_topic",
    "over_refusal",
    "false_alarm",
    "benign_drift",
    "success",
    "recognised",
    "obeyed",
    "agreement",
)
"""Metrics whose value over the prompts is shown first, and large."""


def metric_of(name: str) -> Metric:
    """The entry of a metric, also for "change:share" or "pooled_share"; an unknown name stands for itself."""
    base = name.removeprefix("change:").removeprefix("pooled_").removeprefix("category:")
    base = base.removeprefix("corrected:").removeprefix("calibrated:")
    known = METRICS.get(base, Metric(base.replace("_", " "), "", "as stated by its metric"))
    title = known.title
    if name.startswith("corrected:"):
        text = "Lang and Reiczigel, from the judge's answers to pictures whose truth is known"
        return dataclasses.replace(known, title=f"{title}, corrected for the judge's errors", interval=text)
    if name.startswith("calibrated:"):
        text = "prediction-powered, from human labels of a random sample"
        return dataclasses.replace(known, title=f"{title}, calibrated by human labels", interval=text)
    if name.startswith("category:"):
        return dataclasses.replace(known, title=f"{title} of a category")
    if name.startswith("change:"):
        title = f"change of {title}"
    elif name.startswith("pooled_"):
        title = f"pooled {title}"
    return dataclasses.replace(known, title=title)


OF_GROUPS = (
    "presence",
    "association",
    "text_association",
    "image_association",
    "group_quality",
    "group_quality_gap",
    "group_drift",
    "group_drift_gap",
)
"""Metrics of pictures whose prompts name groups in turn."""
_ATTACK = ("attack_success", "off_topic", "on_topic_success", "attack_gain")
_BENIGN = ("over_refusal", "false_alarm", "benign_drift")


def role_of(metric: str) -> str:
    """The role of the prompt sets whose pictures a metric counts."""
    base = metric.removeprefix("change:")
    if base in _ATTACK:
        return "attack"
    return "benign" if base in _BENIGN else "association" if base in OF_GROUPS else "main"


def plain(name: str) -> str:
    """A name for reading: "construction_worker" is "construction worker", "female*dark" is "female and dark"."""
    return name.replace("_", " ").replace("*", " and ")


def percent(value: float) -> str:
    """A rate as a percentage; near 0 and near 1 one decimal is kept, so that "none" and "all" stay exact."""
    points = value * 100
    if 0 < abs(points) < 0.05:
        return f"<{_SPACE}0.1{_SPACE}%"
    if 99.95 <= points < 100:
        return f">{_SPACE}99.9{_SPACE}%"
    near_edge = 0 < abs(points) < 1 or 99 < points < 100
    return f"{points:.{1 if near_edge else 0}f}{_SPACE}%".replace("-", _MINUS)


def number(value: float) -> str:
    """Two decimals, three below .1."""
    return f"{value:.{3 if 0 < abs(value) < 0.1 else 2}f}".replace("-", _MINUS)


def shown(metric: str, value: float) -> str:
    """A value in the form of its metric."""
    return percent(value) if metric_of(metric).percent else number(value)


def value_text(estimate: Estimate) -> str:
    """The value, or a dash where it is undefined."""
    return NOTHING if estimate.value is None else shown(estimate.metric, estimate.value)


def interval_text(estimate: Estimate) -> str:
    """ "low to high", or why there is none."""
    if estimate.low is None or estimate.high is None:
        return undefined_reason(estimate)
    return f"{shown(estimate.metric, estimate.low)} to {shown(estimate.metric, estimate.high)}"


def undefined_reason(estimate: Estimate) -> str:
    """Why an estimate has no value."""
    if estimate.n:
        return f"undefined at n = {estimate.n}"
    if estimate.abstained:
        return f"undefined: the judge abstained on all {count(estimate.abstained, 'picture')}"
    return "undefined: no picture was counted"


def count(n: int, noun: str) -> str:
    """ "1 picture", "2,000 pictures"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def sample_size(estimate: Estimate) -> str:
    """ "n = 40 pictures": the pictures with a label, also where the value is a mean over prompts."""
    return f"n\u00a0= {count(estimate.n, 'request' if estimate.metric == 'refusal_rate' else 'picture')}"


def hits(estimate: Estimate) -> int | None:
    """How many of the n pictures a plain proportion counts; None where the value is not k / n."""
    if (
        estimate.value is None
        or estimate.unit != "image"
        or estimate.kind != "level"
        or not metric_of(estimate.metric).percent
    ):
        return None
    k = estimate.value * estimate.n
    return round(k) if abs(k - round(k)) < 1e-6 * max(1, estimate.n) else None


def floor_text(estimate: Estimate) -> str | None:
    """What a perfectly fair sampler would score under the same allocation and n."""
    if estimate.floor is None:
        return None
    mean, quantile = estimate.floor
    return (
        f"a perfectly fair model would score {number(mean)} on average, and at most {number(quantile)} "
        f"in 95{_SPACE}% of audits of this size"
    )
