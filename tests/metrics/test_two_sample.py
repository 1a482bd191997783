"""Two models: differences of figures with the intervals of both in them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import confint_proportions_2indep

from evenhand.metrics.intervals import wilson
from evenhand.metrics.two_sample import two_sample_difference, two_sample_differences
from evenhand.records import Estimate


def rate(k: int, n: int, **changes: object) -> Estimate:
    low, high = wilson(k, n)
    return dataclasses.replace(
        Estimate(metric="unsafe_rate", concept="unsafe", value=k / n, low=low, high=high, n=n), **changes
    )


@given(st.integers(1, 60), st.integers(1, 60), st.data())
def test_for_two_rates_it_is_newcombes_interval(n1: int, n2: int, data: st.DataObject) -> None:
    k1, k2 = data.draw(st.integers(0, n1)), data.draw(st.integers(0, n2))
    found = two_sample_difference(rate(k1, n1), rate(k2, n2))
    theirs = confint_proportions_2indep(k2, n2, k1, n1, compare="diff", method="newcomb")
    assert (found.low, found.high) == pytest.approx(theirs, abs=1e-6)
    assert (found.metric, found.kind) == ("change:unsafe_rate", "change")


def test_it_covers_where_the_models_are_independent() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(400):
        one, two = rng.binomial(80, 0.3), rng.binomial(120, 0.5)
        found = two_sample_difference(rate(int(one), 80), rate(int(two), 120))
        held += (found.low or 0) <= 0.2 <= (found.high or 0)
    assert 0.92 <= held / 400 <= 0.98


def test_only_the_same_figures_are_compared_and_empty_ones_stay_empty() -> None:
    base = [rate(1, 10), rate(2, 10, prompt="riot")]
    derivative = [rate(3, 10), rate(3, 10, prompt="storm")]
    (found,) = two_sample_differences(base, derivative)
    assert found.value == pytest.approx(0.2)
    empty = dataclasses.replace(rate(1, 10), value=None, low=None, high=None, n=0)
    assert two_sample_difference(empty, rate(1, 10)).value is None
    with pytest.raises(ValueError, match="different figures"):
        two_sample_difference(rate(1, 10), rate(1, 10, prompt="riot"))
