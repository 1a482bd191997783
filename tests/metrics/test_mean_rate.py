"""The interval of a mean of rates."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.metrics.intervals import wilson
from evenhand.metrics.mean_rate import Part, mean_rate


def held(rates: list[float], size: int, runs: int = 300, kinds: int = 1) -> float:
    """How often the interval holds the mean of rates; with two kinds the parts of each turn about."""
    rng = np.random.default_rng([size, len(rates)])
    truth, found = float(np.mean(rates)), 0
    for counts in rng.binomial(size, rates, size=(runs, len(rates))):
        parts = [Part(int(k), size, 1 / len(rates), place % kinds) for place, k in enumerate(counts)]
        low, high = mean_rate(parts)
        found += low <= truth <= high
    return found / runs


@given(st.integers(2, 60), st.integers(1, 40), st.booleans())
def test_where_all_or_none_show_it_the_interval_is_wilsons_of_all(rows: int, size: int, shown: bool) -> None:
    # weights of a fourteenth sum to 1 less the last digit: the interval was 0 to 1 there
    parts = [Part(size * shown, size, 1 / rows)] * rows
    assert mean_rate(parts) == pytest.approx(wilson(size * rows * shown, size * rows), abs=1e-9)


@given(st.integers(1, 60), st.data())
def test_of_one_part_it_is_wilsons(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, size))
    assert mean_rate([Part(count, size, 1.0)]) == pytest.approx(wilson(count, size), abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(9, 30)), min_size=1, max_size=6))
def test_it_holds_the_mean_and_turns_around_with_the_rates(parts: list[tuple[int, int]]) -> None:
    weight = 1 / len(parts)
    value = sum(k / n for k, n in parts) * weight
    low, high = mean_rate([Part(k, n, weight) for k, n in parts])
    assert -1e-12 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1 + 1e-12
    back = mean_rate([Part(n - k, n, weight) for k, n in parts])
    assert back == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_like_rows_are_one_large_row_and_unlike_ones_are_sharper() -> None:
    low, high = mean_rate([Part(10, 50, 0.25)] * 4)
    wide = wilson(40, 200)
    assert (high - low) == pytest.approx(wide[1] - wide[0], rel=0.05)
    low, high = mean_rate([Part(k, 50, 0.25) for k in (0, 0, 50, 50)])
    wide = wilson(100, 200)
    assert high - low < 0.4 * (wide[1] - wide[0])
    assert high > low


def test_what_is_never_seen_has_the_width_of_all_images() -> None:
    assert mean_rate([Part(0, 20, 0.2)] * 5) == pytest.approx(wilson(0, 100), abs=1e-9)


@pytest.mark.parametrize("size", [8, 20, 50])
@pytest.mark.parametrize(
    "rates", [[0.02] * 16, [0.9] * 8, [0.5] * 8, [0.02, 0.98] * 4, [0.95, 0.8, 0.65, 0.35, 0.2, 0.1]]
)
def test_it_covers(rates: list[float], size: int) -> None:
    # squared and added, Wilson's intervals hold .85 to .94 of the first three; a standard error is .013
    assert held(rates, size) >= 0.92


def test_it_covers_under_quotas() -> None:
    # a class appears where it was assigned in 99 % of the images, and in 10 % where another one was
    assert held([0.99, 0.1], 8, kinds=2) >= 0.92
    assert held([0.99, 0.1] * 8, 25, kinds=2) >= 0.92
