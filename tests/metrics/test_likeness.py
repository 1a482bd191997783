"""Likeness and variety of sets of pictures, on features whose distributions are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evenhand.metrics.likeness import cmmd, mmd_p_value, relative_drift, squared_mmd, vendi


def normal(n: int, d: int = 8, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, (n, d))


def test_two_points_a_side_by_hand() -> None:
    # one kernel value each: k = mean over s of exp(-d^2 / (2 (s m)^2)) with the distance m = 1 given
    first, second = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])

    def k(distance: float) -> float:
        return sum(math.exp(-(distance**2) / (2 * s**2)) for s in (0.5, 1, 2)) / 3

    expected = k(1) + k(2) - 2 * (k(0) + k(2) + k(1) + k(1)) / 4
    assert squared_mmd(first, second, distance=1.0) == pytest.approx(expected)


def test_it_is_unbiased_and_grows_with_the_difference() -> None:
    # halves of one distribution: mean 0, often negative
    values = [squared_mmd(normal(20, seed=2 * i), normal(20, seed=2 * i + 1)) for i in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)
    assert min(values) < 0
    shifted = [squared_mmd(normal(50), normal(50, mean=mean, seed=1)) for mean in (0.0, 0.5, 1.0, 3.0)]
    assert shifted == sorted(shifted)


def test_a_collapse_of_the_spread_is_seen() -> None:
    assert squared_mmd(normal(60), 0.2 * normal(60, seed=1)) > 20 * abs(squared_mmd(normal(60), normal(60, seed=1)))


def test_the_permutation_test_keeps_its_level_and_has_power() -> None:
    assert mmd_p_value(normal(30), normal(30, mean=1.0, seed=1), draws=199) == pytest.approx(1 / 200)
    values = [mmd_p_value(normal(15, seed=2 * i), normal(15, seed=2 * i + 1), draws=99) for i in range(60)]
    assert 0.3 < np.mean(values) < 0.7


def test_cmmd_with_its_constants() -> None:
    # unit vectors at a right angle: 1000 (1 + 1 - 2 exp(-2 / 200))
    first, second = np.array([[1.0, 0.0]]), np.array([[0.0, 3.0]])
    assert cmmd(first, second) == pytest.approx(1000 * (2 - 2 * math.exp(-0.01)))
    assert cmmd(first, first) == pytest.approx(0)


def test_vendi_counts_what_is_different() -> None:
    assert vendi(np.eye(7)) == pytest.approx(7)
    assert vendi(np.ones((5, 3))) == pytest.approx(1)
    assert vendi(np.repeat(np.eye(4), 3, axis=0)) == pytest.approx(4)


def test_drift_is_in_units_of_two_seeds() -> None:
    # three pictures on a line at 0, 3 and 6: mean distance between two of them 4
    before = np.array([[0.0], [3.0], [6.0]])
    after = before + np.array([[2.0], [0.0], [4.0]])
    assert relative_drift(before, after).tolist() == [0.5, 0.0, 1.0]
    with pytest.raises(ValueError, match="one picture"):
        relative_drift(before[:1], after[:1])


def test_one_row_is_refused() -> None:
    with pytest.raises(ValueError, match="two or more of each"):
        squared_mmd(normal(1), normal(5))
