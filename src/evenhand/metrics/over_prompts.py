"""From the estimates of the rows to one over prompts: for these prompts, and for prompts like these."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from ..records import Estimate
from .clusters import clustered_t
from .floor import Floor
from .intervals import CONFIDENCE, Interval, effective_clopper_pearson, square_and_add
from .mean_rate import Part, mean_rate

Clusters = Mapping[str, str]
"""Row name to the prompt that it shares with other rows."""

FEWEST_PROMPTS = 10
"""Below this many prompts nothing is said about prompts like these."""


def over_prompts(
    rows: Sequence[Estimate],
    template: Estimate,
    *,
    largest: float = 1.0,
    exact: bool = False,
    parts: Mapping[str, Sequence[Part]] | None = None,
    confidence: float = CONFIDENCE,
    floor: Floor | None = None,
    clusters: Clusters | None = None,
) -> list[Estimate]:
    """The mean of the rows' values, each row with the same weight.

    *These prompts*: only the images vary. A mean of rates has Wilson's interval at the number of images that vary as
    much (`mean_rate`); of other figures the rows' intervals are squared and added. *Prompts like these*, from
    ten prompts with images on: Student's t over the rows' values; the width never falls below that for these
    prompts, which new ones would have too.

    Args:
        rows: the estimates of one metric, one per row; those without images are left out of the mean.
        template: gives metric, concept, class, intervention and allocation.
        largest: upper end of the metric's range; the lower one is 0.
        exact: Clopper-Pearson at the effective number of images instead, for rates that make a safety claim.
        parts: row name to the counts of its rate, for rates; their weights sum to 1 within the row.
        confidence: of the interval of rates.
        floor: what a fair sampler scores.
        clusters: row name to its prompt, where one stands in several rows; *prompts like these* counts each once.
    """
    abstained = sum(row.abstained for row in rows)
    template = dataclasses.replace(template, prompt=None, unit="prompt", decision=None, abstained=abstained)
    used = [row for row in rows if row.value is not None]
    values = [row.value for row in used if row.value is not None]
    if not values:
        return [template]
    mean = float(np.mean(values))
    if exact:
        these = effective_clopper_pearson(mean, len(used) ** 2 / sum(1 / row.n for row in used))
    elif parts is not None:
        counts = [
            dataclasses.replace(one, weight=one.weight / len(used)) for row in used for one in parts[str(row.prompt)]
        ]
        these = mean_rate(counts, confidence)
    else:
        bounds = [(row.low, row.high) for row in used if row.low is not None and row.high is not None]
        these = square_and_add(values, bounds, [1 / len(values)] * len(values))
    template = dataclasses.replace(template, n=sum(row.n for row in used), floor=floor)
    found = [with_interval(template, mean, these, largest)]
    prompts = [(clusters or {}).get(str(row.prompt), row.prompt) for row in used]
    if len(set(prompts)) >= FEWEST_PROMPTS:
        like_these = hull(clustered_t(values, prompts), these)
        found.append(with_interval(dataclasses.replace(template, scope="like-these"), mean, like_these, largest))
    return found


def counted(rows: Sequence[Estimate]) -> dict[str, list[Part]]:
    """The counts behind rates of independent images."""
    return {str(row.prompt): [Part(round(row.value * row.n), row.n, 1.0)] for row in rows if row.value is not None}


def hull(first: Interval, second: Interval) -> Interval:
    """The smallest interval that contains both."""
    return min(first[0], second[0]), max(first[1], second[1])


def with_interval(template: Estimate, value: float, interval: Interval, largest: float = 1.0) -> Estimate:
    """The template with a value and its interval, cut to [0, largest] but never past the value itself."""
    low, high = max(interval[0], 0.0), min(interval[1], largest)
    return dataclasses.replace(template, value=value, low=min(low, value), high=max(high, value))
