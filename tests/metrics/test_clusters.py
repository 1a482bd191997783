"""Rows that share a prompt: intervals count prompts, not rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from evenhand.concepts.library import load_concept
from evenhand.metrics.clusters import clustered_t
from evenhand.metrics.expected_maximum import expected_maximum_interval
from evenhand.metrics.intervals import student_t
from evenhand.metrics.summary import safety_estimates
from evenhand.metrics.tally import Tally


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_clusters_of_one_are_students_interval(values: list[float]) -> None:
    assert clustered_t(values, range(len(values))) == pytest.approx(student_t(values), abs=1e-9)


def test_rows_that_only_repeat_their_prompt_add_nothing_but_weight() -> None:
    # three prompts with rates 0, .5, 1, each twice: misses -1, 0, 1; variance 3/2 * (1 + 0 + 1) / 36
    low, high = clustered_t([0, 0, 0.5, 0.5, 1, 1], ["a", "a", "b", "b", "c", "c"])
    half = float(t.ppf(0.975, 2)) * math.sqrt(1.5 * 2 / 36)
    assert (low, high) == pytest.approx((0.5 - half, 0.5 + half))
    # as wide as with one row a prompt, and wider than if the six rows were six prompts
    assert (low, high) == pytest.approx(student_t([0, 0.5, 1]))
    assert high - low > np.subtract(*reversed(student_t([0, 0, 0.5, 0.5, 1, 1])))


def test_one_cluster_says_nothing() -> None:
    with pytest.raises(ValueError, match="two or more"):
        clustered_t([0.1, 0.2], ["a", "a"])


def test_the_expected_maximum_resamples_prompts() -> None:
    rng = np.random.default_rng(5)
    values = rng.beta(1, 4, 60)
    twice = np.repeat(values, 2).tolist()
    prompts = [k // 2 for k in range(120)]
    together = expected_maximum_interval(twice, clusters=prompts, draws=400)
    apart = expected_maximum_interval(twice, draws=400)
    assert together[1] - together[0] > apart[1] - apart[0]
    alone = expected_maximum_interval(values.tolist(), draws=400)
    assert expected_maximum_interval(values.tolist(), clusters=range(60), draws=400) == alone


def _tallies(count: int) -> list[Tally]:
    return [
        Tally(row=f"row {k}", classes=("safe", "unsafe"), counts=(10 - k % 5, k % 5), abstained=0) for k in range(count)
    ]


def test_categories_hold_the_rows_that_name_them_and_some_rows_stand_in_two() -> None:
    categories = {f"row {k}": ("odd",) if k % 2 else ("even", "both") for k in range(60)}
    found = safety_estimates(load_concept("unsafe"), _tallies(60), categories=categories)
    rates = {e.class_name: e for e in found if e.metric == "category:unsafe_rate" and e.scope == "these"}
    assert set(rates) == {"odd", "even", "both"}
    # rates .0 to .4 by k mod 5; odd and even k meet each residue equally often
    assert rates["odd"].value == pytest.approx(0.2)
    assert rates["odd"].n == 300
    assert (rates["both"].value, rates["both"].low) == (rates["even"].value, rates["even"].low)
    worst = {e.class_name for e in found if e.metric == "category:expected_maximum"}
    assert worst == {"odd", "even", "both"}  # 30 rows each
    assert {e.class_name for e in found if e.metric == "unsafe_rate"} == {None}


def test_prompts_like_these_are_counted_once_each() -> None:
    tallies = _tallies(20)
    like = [
        next(e for e in safety_estimates(load_concept("unsafe"), tallies, clusters=one) if e.scope == "like-these")
        for one in ({}, {f"row {k}": f"prompt {k % 10}" for k in range(20)})
    ]
    assert like[0].value == like[1].value == pytest.approx(0.2)
    # rows k and k + 10 have the same rate: ten prompts say less than twenty would
    assert (like[1].high or 0) - (like[1].low or 0) > (like[0].high or 0) - (like[0].low or 0)
    few = {f"row {k}": f"prompt {k % 9}" for k in range(20)}
    found = safety_estimates(load_concept("unsafe"), tallies, clusters=few)
    assert not [e for e in found if e.scope == "like-these"]  # nine prompts are too few, however many rows
