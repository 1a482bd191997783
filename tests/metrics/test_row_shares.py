"""One row under both allocations."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.errors import InputError
from evenhand.metrics import Tally, wilson
from evenhand.metrics.rows import group_rows

CLASSES = ("a", "b")


def stratum(assigned: str | None, *counts: int, abstained: int = 0, row: str = "r") -> Tally:
    return Tally(row=row, classes=CLASSES, counts=counts, abstained=abstained, assigned=assigned)


def test_independent_images_of_a_row_are_one_stratum() -> None:
    (row,) = group_rows([stratum("a", 8, 2, abstained=1), stratum("b", 3, 7)], "iid")
    assert row.strata == ((11, 9),)
    assert row.abstained == 1
    assert row.fair_counts is None
    assert row.interval(0) == wilson(11, 20)


def test_quotas_keep_the_assigned_classes_apart() -> None:
    (row,) = group_rows([stratum("a", 8, 2), stratum("b", 3, 7, abstained=2)], "stratified")
    assert row.strata == ((8, 2), (3, 7))
    assert row.counts == (11, 9)
    assert row.fair_counts == (10, 10)
    assert row.abstained == 2


def test_the_covariance_by_hand() -> None:
    # one stratum, p = (.8, .2), n = 10: .16/9 on the diagonal, the negative beside it
    (row,) = group_rows([stratum(None, 8, 2)], "iid")
    assert row.covariance() == pytest.approx(np.array([[1, -1], [-1, 1]]) * 0.16 / 9, abs=1e-12)
    # two strata of 10: 1/4 (.16/9) + 1/4 (.21/9)
    (row,) = group_rows([stratum("a", 8, 2), stratum("b", 3, 7)], "stratified")
    assert row.covariance() == pytest.approx(np.array([[1, -1], [-1, 1]]) * (0.16 + 0.21) / 36, abs=1e-12)


def test_the_interval_of_strata_squares_and_adds_wilson() -> None:
    (row,) = group_rows([stratum("a", 8, 2), stratum("b", 3, 7)], "stratified")
    (low_a, high_a), (low_b, high_b) = wilson(8, 10), wilson(3, 10)
    low = 0.55 - np.hypot(0.8 - low_a, 0.3 - low_b) / 2
    high = 0.55 + np.hypot(high_a - 0.8, high_b - 0.3) / 2
    assert row.interval(0) == pytest.approx((low, high), abs=1e-12)
    # the other class is the mirror image
    assert row.interval(1) == pytest.approx((1 - high, 1 - low), abs=1e-12)


def test_the_interval_under_quotas_covers() -> None:
    rng = np.random.default_rng(7)
    hits = 0
    for k, m in zip(rng.binomial(25, 0.95, 1000), rng.binomial(25, 0.3, 1000), strict=True):
        (row,) = group_rows([stratum("a", int(k), 25 - int(k)), stratum("b", int(m), 25 - int(m))], "stratified")
        low, high = row.interval(0)
        hits += low <= (0.95 + 0.3) / 2 <= high
    assert hits / 1000 >= 0.93


def test_rows_keep_their_order_and_stratified_ones_need_assigned_classes() -> None:
    tallies = [stratum(None, 1, 2, row="z"), stratum(None, 0, 0, row="a")]
    assert [row.name for row in group_rows(tallies, "iid")] == ["z", "a"]
    with pytest.raises(InputError, match="needs the assigned class"):
        group_rows(tallies, "stratified")
    with pytest.raises(InputError, match="expected iid or stratified"):
        group_rows(tallies, "balanced")  # type: ignore[arg-type]
