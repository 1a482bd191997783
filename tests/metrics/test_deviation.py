"""The debiased deviation: unbiased on the square, and its interval."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.metrics.deviation import (
    deviation,
    deviation_floor,
    deviation_like_these,
    squared_deviation,
    squared_deviation_variance,
)
from evenhand.metrics.rows import Row

EVEN = (0.5, 0.5)


def iid(*counts: int) -> Row:
    return Row("row", tuple("abcdef"[: len(counts)]), (tuple(int(k) for k in counts),), (None,), 0)


def stratified(*strata: tuple[int, ...]) -> Row:
    classes = tuple("abcdef"[: len(strata[0])])
    return Row("row", classes, tuple(tuple(int(k) for k in one) for one in strata), classes, 0)


def test_two_classes_by_hand() -> None:
    # p = .8, n = 10: 1/2 x 2 x [(.8 - .5)^2 - .8 x .2 / 9] = .09 - .0177778
    assert squared_deviation(iid(8, 2), EVEN) == pytest.approx(0.09 - 0.16 / 9, abs=1e-12)


def test_three_classes_by_hand() -> None:
    # p = (.6, .3, .1), q = (.5, .3, .2), n = 11: 1/2 [(.01 + 0 + .01) - (.24 + .21 + .09) / 10] with p from 11 images
    p = np.array([6, 4, 1]) / 11
    expected = 0.5 * sum((p - [0.5, 0.3, 0.2]) ** 2 - p * (1 - p) / 10)
    assert squared_deviation(iid(6, 4, 1), (0.5, 0.3, 0.2)) == pytest.approx(expected, abs=1e-12)


def test_strata_by_hand() -> None:
    # 6 and 4 images, p_a = (5/6, 1/6) and (1/4, 3/4): p = (.6, .4); the variance of the first share is
    # .6^2 x (5/36) / 5 + .4^2 x (3/16) / 3 = .01 + .01, and for two classes the square is (.6 - .5)^2 - .02
    assert squared_deviation(stratified((5, 1), (1, 3)), EVEN) == pytest.approx(0.01 - 0.02, abs=1e-12)


@given(st.lists(st.integers(0, 6), min_size=2, max_size=4).filter(lambda c: sum(c) >= 2))
def test_it_is_the_average_over_pairs_of_different_images(counts: list[int]) -> None:
    # U-statistic: mean over i < j of 1/2 (x_i - q) . (x_j - q)
    target = np.arange(1, len(counts) + 1) / sum(range(1, len(counts) + 1))
    images = [np.eye(len(counts))[k] - target for k, count in enumerate(counts) for _ in range(count)]
    expected = np.mean([one @ other / 2 for one, other in combinations(images, 2)])
    assert squared_deviation(iid(*counts), target.tolist()) == pytest.approx(expected, abs=1e-12)


def test_the_square_is_unbiased_for_independent_images() -> None:
    rng = np.random.default_rng(0)
    truth, target = np.array([0.5, 0.3, 0.2]), (1 / 3,) * 3
    draws = rng.multinomial(8, truth, size=4000)
    values = np.array([squared_deviation(iid(*counts), target) for counts in draws])
    expected = float(np.sum((truth - 1 / 3) ** 2)) / 2
    assert values.mean() == pytest.approx(expected, abs=4 * values.std() / math.sqrt(4000))


def test_the_square_is_unbiased_under_quotas() -> None:
    rng = np.random.default_rng(1)
    success = np.array([[0.9, 0.1], [0.4, 0.6]])
    # shares .65 and .35, hence the square of .15
    draws = [stratified(rng.multinomial(6, success[0]), rng.multinomial(6, success[1])) for _ in range(4000)]
    values = np.array([squared_deviation(row, EVEN) for row in draws])
    assert values.mean() == pytest.approx(0.15**2, abs=4 * values.std() / math.sqrt(4000))


def test_the_variance_is_that_of_the_estimate() -> None:
    rng = np.random.default_rng(2)
    for truth in ([0.5, 0.5], [0.7, 0.3], [0.4, 0.35, 0.25]):
        rows = [iid(*counts) for counts in rng.multinomial(60, truth, size=2000)]
        target = [1 / len(truth)] * len(truth)
        observed = float(np.var([squared_deviation(row, target) for row in rows]))
        # one row's plug-in varies a lot, its mean is a little high: the quadratic part is counted with the noise
        claimed = float(np.mean([squared_deviation_variance(row, target) for row in rows]))
        assert observed * 0.9 < claimed < observed * 3


@pytest.mark.parametrize("truth", [[0.5] * 16, [0.6] * 16, [0.98] * 16, np.linspace(0.03, 0.97, 16)])
def test_the_interval_covers_at_sixteen_prompts_of_fifty(truth: list[float]) -> None:
    rng = np.random.default_rng(5)
    expected = math.sqrt(np.mean((np.array(truth) - 0.5) ** 2))
    hits = 0
    for counts in rng.binomial(50, truth, size=(200, 16)):
        _, (low, high) = deviation([iid(k, 50 - k) for k in counts], EVEN)
        hits += low <= expected <= high
    # nominal .95; two standard errors of the simulation are .03
    assert hits / 200 >= 0.92


def test_opposite_biases_do_not_cancel() -> None:
    value, _ = deviation([iid(45, 5), iid(5, 45)], EVEN)
    # each row: .16 - .09/49
    assert value == pytest.approx(math.sqrt(0.16 - 0.09 / 49), abs=1e-12)


def test_small_samples_are_not_rewarded_or_punished() -> None:
    # a perfectly fair outcome is below 0 on the square, hence 0; its upper limit shrinks with n
    small, large = deviation([iid(5, 5)] * 4, EVEN), deviation([iid(50, 50)] * 4, EVEN)
    assert small[0] == large[0] == small[1][0] == 0
    assert small[1][1] > large[1][1] > 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(2, 20)), min_size=1, max_size=6), st.integers(0, 99))
def test_neither_the_order_of_rows_nor_the_names_of_classes_matter(rows: list[tuple[int, int]], seed: int) -> None:
    plain = deviation([iid(*counts) for counts in rows], (0.3, 0.7))
    order = np.random.default_rng(seed).permutation(len(rows))
    other = deviation([iid(*reversed(rows[place])) for place in order], (0.7, 0.3))
    assert other[0] == pytest.approx(plain[0], abs=1e-7)
    assert other[1] == pytest.approx(plain[1], abs=1e-7)
    assert plain[1][0] <= plain[0] <= plain[1][1]


def test_one_image_in_a_stratum_tells_no_noise() -> None:
    assert squared_deviation(iid(1, 0), EVEN) is None
    assert squared_deviation(iid(0, 0), EVEN) is None
    assert squared_deviation(stratified((3, 0), (0, 1)), EVEN) is None
    assert squared_deviation(stratified((3, 0), (0, 0)), EVEN) is not None
    with pytest.raises(ValueError, match="fewer than two images"):
        squared_deviation_variance(iid(1, 0), EVEN)


def test_prompts_like_these_by_hand() -> None:
    # squares .09 - .16/9 twice and .16 - .09/9 once; t(.975, 2) = 4.302653
    rows = [iid(8, 2), iid(8, 2), iid(9, 1)]
    squares = [0.09 - 0.16 / 9] * 2 + [0.16 - 0.09 / 9]
    half = 4.302652729911275 * np.std(squares, ddof=1) / math.sqrt(3)
    low, high = deviation_like_these(rows, EVEN)
    assert low == pytest.approx(math.sqrt(max(0, np.mean(squares) - half)), abs=1e-9)
    assert high == pytest.approx(math.sqrt(np.mean(squares) + half), abs=1e-9)


def test_the_floor_is_that_of_simulated_fair_rows() -> None:
    rows = [iid(50, 0)] * 16
    mean, quantile = deviation_floor(rows, EVEN)
    rng = np.random.default_rng(6)
    values = [deviation([iid(k, 50 - k) for k in rng.binomial(50, 0.5, 16)], EVEN)[0] for _ in range(400)]
    assert mean == pytest.approx(np.mean(values), abs=4 * np.std(values) / 20)
    assert quantile == pytest.approx(np.quantile(values, 0.95), abs=0.015)


def test_a_fair_sampler_under_quotas_deviates_by_their_rounding_alone() -> None:
    assert deviation_floor([stratified((10, 0), (3, 7))], EVEN) == (0.0, 0.0)
    # 3 and 2 images of 5: |.6 - .5| = .1
    assert deviation_floor([stratified((3, 0), (0, 2))], EVEN) == (pytest.approx(0.1), pytest.approx(0.1))
