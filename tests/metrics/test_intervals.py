"""Intervals: equal to statsmodels where it has them, and to the arithmetic elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom
from statsmodels.stats.proportion import multinomial_proportions_confint, proportion_confint

from evenhand.metrics.intervals import (
    clopper_pearson,
    clopper_pearson_upper,
    effective_clopper_pearson,
    goodman,
    safety_interval,
    square_and_add,
    student_t,
    wilson,
)

COUNTS = st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
LEVELS = st.sampled_from([0.9, 0.95, 0.99])


@given(COUNTS, LEVELS)
def test_wilson_and_clopper_pearson_equal_statsmodels(counts: tuple[int, int], level: float) -> None:
    k, n = counts
    assert wilson(k, n, level) == pytest.approx(proportion_confint(k, n, 1 - level, "wilson"), abs=1e-9)
    assert clopper_pearson(k, n, level) == pytest.approx(proportion_confint(k, n, 1 - level, "beta"), abs=1e-9)


@given(st.lists(st.integers(0, 200), min_size=3, max_size=7).filter(sum), LEVELS)
def test_goodman_equals_statsmodels(counts: list[int], level: float) -> None:
    # statsmodels lets the lower limit of an empty class fall a rounding below 0
    expected = np.clip(multinomial_proportions_confint(np.array(counts), 1 - level, "goodman"), 0, 1)
    assert np.array(goodman(counts, level)) == pytest.approx(expected, abs=1e-9)


def test_two_classes_are_one_number() -> None:
    assert goodman([30, 20]) == [wilson(30, 50), wilson(20, 50)]


def test_wilson_by_hand() -> None:
    # z = 1.959964, n = 50, p = .5: half = z sqrt(p(1-p)/n + z^2/(4 n^2)) / (1 + z^2/n) = .133644
    z = 1.959963984540054
    half = z * math.sqrt(0.25 / 50 + z**2 / (4 * 50**2)) / (1 + z**2 / 50)
    assert wilson(25, 50) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)


@given(COUNTS, LEVELS)
def test_every_interval_contains_its_estimate_and_stays_in_range(counts: tuple[int, int], level: float) -> None:
    k, n = counts
    found = (wilson(k, n, level), clopper_pearson(k, n, level), safety_interval(k, n, level))
    for low, high in (*found, effective_clopper_pearson(k / n, n, level)):
        assert 0 <= low <= k / n <= high <= 1


def test_zero_of_n_gives_the_one_sided_limit() -> None:
    # 1 - .05^(1/299) = .009969, 1 - .05^(1/2995) = .00099975, and one image less is not enough
    assert safety_interval(0, 299) == (0.0, pytest.approx(1 - 0.05 ** (1 / 299), abs=1e-12))
    assert clopper_pearson_upper(0, 299) < 0.01 < clopper_pearson_upper(0, 298)
    assert clopper_pearson_upper(0, 2995) < 0.001 < clopper_pearson_upper(0, 2994)


def test_the_upper_limit_inverts_the_binomial_test() -> None:
    # at the limit, 3 or fewer of 80 have probability 5 %
    assert binom.cdf(3, 80, clopper_pearson_upper(3, 80)) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("k", "n"), [(1, 50), (20, 50), (50, 50)])
def test_whole_effective_counts_are_clopper_pearson(k: int, n: int) -> None:
    assert effective_clopper_pearson(k / n, n) == pytest.approx(clopper_pearson(k, n), abs=1e-9)


def test_an_effective_zero_is_one_sided_too() -> None:
    assert effective_clopper_pearson(0.0, 299.0) == (0.0, pytest.approx(clopper_pearson_upper(0, 299), abs=1e-9))
    assert effective_clopper_pearson(0.0, 120.5)[1] == pytest.approx(1 - 0.05 ** (1 / 120.5), abs=1e-12)


def test_the_effective_interval_covers_the_mean_of_unequal_rates() -> None:
    rng = np.random.default_rng(3)
    rates, sizes = np.array([0.0, 0.02, 0.3, 0.6]), np.array([20, 30, 40, 25])
    effective = 4**2 / np.sum(1 / sizes)
    draws = rng.binomial(sizes, rates, size=(1000, 4)) / sizes
    intervals = [effective_clopper_pearson(float(mean), effective) for mean in draws.mean(axis=1)]
    assert np.mean([low <= rates.mean() <= high for low, high in intervals]) >= 0.95


def test_squaring_and_adding_symmetric_intervals_is_the_root_of_summed_squares() -> None:
    # half widths .1 and .2 with weights 1/2: sqrt(.01/4 + .04/4) = .1118034
    low, high = square_and_add([0.3, 0.5], [(0.2, 0.4), (0.3, 0.7)], [0.5, 0.5])
    assert (low, high) == pytest.approx((0.4 - math.sqrt(0.0125), 0.4 + math.sqrt(0.0125)), abs=1e-12)


def test_squared_and_added_wilson_intervals_cover_a_mean_of_shares() -> None:
    rng = np.random.default_rng(4)
    shares = np.array([0.02, 0.1, 0.5, 0.9, 0.98, 0.95])
    hits = 0
    for counts in rng.binomial(30, shares, size=(1000, 6)):
        low, high = square_and_add(counts / 30, [wilson(int(k), 30) for k in counts], [1 / 6] * 6)
        hits += low <= shares.mean() <= high
    # nominal .95; three standard errors of the simulation are .02
    assert hits / 1000 >= 0.93


def test_student_t_by_hand() -> None:
    # mean 2, sd 1, n 3, t(.975, 2) = 4.302653: half = 4.302653 / sqrt 3
    half = 4.302652729911275 / math.sqrt(3)
    assert student_t([1, 2, 3]) == pytest.approx((2 - half, 2 + half), abs=1e-9)
