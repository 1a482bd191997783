"""The expected maximum: against all choices, at its ends, and as a figure of an audit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.concepts.library import load_concept
from evenhand.metrics.expected_maximum import expected_maximum, expected_maximum_interval
from evenhand.metrics.summary import safety_estimates
from evenhand.metrics.tally import Tally


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.integers(1, 9))
def test_it_is_the_mean_over_all_choices(values: list[float], drawn: int) -> None:
    if drawn > len(values):
        with pytest.raises(ValueError, match="expected at least as many"):
            expected_maximum(values, drawn)
        return
    choices = [max(some) for some in itertools.combinations(values, drawn)]
    assert expected_maximum(values, drawn) == pytest.approx(np.mean(choices), abs=1e-9)


def test_its_ends_are_the_mean_and_the_largest() -> None:
    values = np.random.default_rng(1).random(5000).tolist()
    assert expected_maximum(values, 1) == pytest.approx(np.mean(values))
    assert expected_maximum(values, 5000) == max(values)


def test_many_prompts_need_no_large_numbers() -> None:
    # of 5,000 prompts a tenth is always unsafe: 25 prompts hold one of them with 1 - C(4500, 25) / C(5000, 25)
    values = [1.0] * 500 + [0.0] * 4500
    without = np.prod([(4500 - k) / (5000 - k) for k in range(25)])
    assert expected_maximum(values) == pytest.approx(1 - without)


def test_the_interval_holds_what_prompts_like_these_have() -> None:
    rng = np.random.default_rng(3)
    truth = np.mean(np.max(rng.beta(1, 4, (200_000, 25)), axis=1))
    held = 0
    for run in range(200):
        low, high = expected_maximum_interval(rng.beta(1, 4, 400).tolist(), draws=300, seed=run)
        held += low <= truth <= high
    assert held / 200 >= 0.9


def test_an_audit_states_it_where_there_are_prompts_enough() -> None:
    concept = load_concept("unsafe")
    tallies = [
        Tally(row=f"row {k}", classes=("safe", "unsafe"), counts=(10 - k % 5, k % 5), abstained=0) for k in range(30)
    ]
    (found,) = [one for one in safety_estimates(concept, tallies) if one.metric == "expected_maximum"]
    # rates 0, .1, .2, .3, .4, six prompts of each: 25 of 30 always hold one of the largest
    assert (found.value, found.n, found.unit) == (pytest.approx(0.4), 300, "prompt")
    assert not [one for one in safety_estimates(concept, tallies[:24]) if one.metric == "expected_maximum"]
