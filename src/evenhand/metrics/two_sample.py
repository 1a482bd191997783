"""Two models, each with its own images: differences of their figures, from the interval of each."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from ..records import Estimate

_Key = tuple[str, str | None, str | None, str | None, str, str | None]


def two_sample_difference(first: Estimate, second: Estimate) -> Estimate:
    """The second less the first, as "change:METRIC".

    The interval is low = d - sqrt((v2 - l2)^2 + (u1 - v1)^2) and likewise above (Zou and Donner, Statistics in Medicine
    2008); with Wilson's intervals of two rates it is Newcombe's for two samples (1998, method 10). It takes the two for
    independent: images that share their seeds are alike rather than unlike, which makes it too wide, never too narrow.

    Args:
        first, second: the same figure of two models.

    Raises: ValueError for figures of different things.
    """
    if _key(first) != _key(second):
        raise ValueError(f"{_key(first)} and {_key(second)} are different figures")
    metric = first.metric if first.metric.startswith("change:") else f"change:{first.metric}"
    empty = dataclasses.replace(
        second, metric=metric, kind="change", value=None, low=None, high=None, floor=None, decision=None, p_value=None,
        q_value=None, n=min(first.n, second.n), abstained=max(first.abstained, second.abstained), allocation=None,
    )  # fmt: skip
    bounds = (first.value, first.low, first.high, second.value, second.low, second.high)
    if any(one is None for one in bounds):
        return empty
    v1, l1, u1, v2, l2, u2 = (float(one or 0.0) for one in bounds)
    value = v2 - v1
    low, high = value - math.hypot(v2 - l2, u1 - v1), value + math.hypot(u2 - v2, v1 - l1)
    return dataclasses.replace(empty, value=value, low=min(low, value), high=max(high, value))


def two_sample_differences(first: Sequence[Estimate], second: Sequence[Estimate]) -> list[Estimate]:
    """The difference of every figure that both have, in the order of the second."""
    known = {_key(one): one for one in first}
    return [two_sample_difference(known[_key(one)], one) for one in second if _key(one) in known]


def _key(e: Estimate) -> _Key:
    return (e.metric, e.concept, e.class_name, e.prompt, e.scope, e.intervention)
