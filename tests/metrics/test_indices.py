"""Indices of distance from a target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from evenhand.metrics.indices import DEVIATION_RATIO, FAIRNESS_DISCREPANCY, INDICES, KL, TOTAL_VARIATION, Index
from evenhand.metrics.intervals import goodman

SHARES = st.lists(st.integers(1, 50), min_size=2, max_size=6).map(lambda w: np.array(w) / sum(w))
PAIRS = st.integers(2, 6).flatmap(
    lambda k: st.tuples(*(st.lists(st.integers(1, 50), min_size=k, max_size=k) for _ in range(2)))
)


def normalised(pair: tuple[list[int], list[int]]) -> tuple[np.ndarray, list[float]]:
    shares, target = (np.array(weights) / sum(weights) for weights in pair)
    return shares, target.tolist()


def test_two_classes_by_hand() -> None:
    shares, target = np.array([0.8, 0.2]), (0.5, 0.5)
    assert DEVIATION_RATIO(shares, target) == pytest.approx(0.6, abs=1e-12)  # .3 / .5
    assert FAIRNESS_DISCREPANCY(shares, target) == pytest.approx(math.sqrt(0.18), abs=1e-12)  # sqrt(.09 + .09)
    assert TOTAL_VARIATION(shares, target) == pytest.approx(0.3, abs=1e-12)  # (.3 + .3) / 2
    # .8 ln 1.6 + .2 ln .4 = .376003 - .183258
    assert KL(shares, target) == pytest.approx(0.8 * math.log(1.6) + 0.2 * math.log(0.4), abs=1e-12)


def test_three_classes_against_an_uneven_target_by_hand() -> None:
    shares, target = np.array([0.7, 0.3, 0.0]), (0.5, 0.3, 0.2)
    assert DEVIATION_RATIO(shares, target) == pytest.approx(0.25, abs=1e-12)  # max(.2, 0, .2) / (1 - .2)
    assert FAIRNESS_DISCREPANCY(shares, target) == pytest.approx(math.sqrt(0.08), abs=1e-12)  # .04 + 0 + .04
    assert TOTAL_VARIATION(shares, target) == pytest.approx(0.2, abs=1e-12)
    # .7 ln(.7/.5) + 0; the class that is never seen contributes nothing
    assert KL(shares, target) == pytest.approx(0.7 * math.log(1.4), abs=1e-12)


@given(SHARES)
def test_the_published_ratio_for_a_uniform_target(shares: np.ndarray) -> None:
    # Li et al. (arXiv 2311.17216): max_c |N_c / N - 1/C| / (1 - 1/C)
    classes = len(shares)
    expected = max(abs(share - 1 / classes) for share in shares) / (1 - 1 / classes)
    assert DEVIATION_RATIO(shares, [1 / classes] * classes) == pytest.approx(expected, abs=1e-12)


@given(PAIRS)
def test_kl_equals_scipy(pair: tuple[list[int], list[int]]) -> None:
    shares, target = normalised(pair)
    assert KL(shares, target) == pytest.approx(entropy(shares, target), abs=1e-12)


@pytest.mark.parametrize("index", INDICES, ids=lambda index: index.name)
class TestLaws:
    @given(pair=PAIRS, seed=st.integers(0, 99))
    def test_relabelling_the_classes_changes_nothing(self, index: Index, pair: tuple, seed: int) -> None:
        shares, target = normalised(pair)
        order = np.random.default_rng(seed).permutation(len(target))
        assert index(shares[order], np.array(target)[order].tolist()) == pytest.approx(
            float(index(shares, target)), abs=1e-12
        )

    @given(shares=SHARES)
    def test_zero_at_the_target_and_only_there(self, index: Index, shares: np.ndarray) -> None:
        target = shares.tolist()
        assert index(shares, target) == pytest.approx(0, abs=1e-12)
        other = np.roll(shares, 1)
        if np.abs(other - shares).max() > 1e-6:
            assert index(other, target) > 0

    @given(pair=PAIRS)
    def test_nothing_exceeds_all_images_in_the_rarest_class(self, index: Index, pair: tuple) -> None:
        shares, target = normalised(pair)
        assert 0 <= index(shares, target) <= index.largest(target) + 1e-12

    @given(pair=PAIRS)
    def test_the_interval_contains_every_point_that_its_bounds_allow(self, index: Index, pair: tuple) -> None:
        counts, target = pair[0], normalised(pair)[1]
        bounds = goodman(counts)
        shares = np.array(counts) / sum(counts)
        low, high = index.interval(shares, target, bounds)
        assert 0 <= low <= index(shares, target) <= high <= index.largest(target) + 1e-12
        edges = np.array(bounds)
        points = np.random.default_rng(0).dirichlet(np.array(counts) + 1.0, size=50)
        allowed = points[np.all((points >= edges[:, 0]) & (points <= edges[:, 1]), axis=1)]
        values = index(allowed, target)
        assert np.all((values >= low - 1e-9) & (values <= high + 1e-9))

    def test_stacked_rows_equal_single_ones(self, index: Index) -> None:
        rows = np.random.default_rng(1).dirichlet([1, 1, 1], size=5)
        target = (0.2, 0.3, 0.5)
        assert index(rows, target) == pytest.approx([float(index(row, target)) for row in rows], abs=1e-12)


def test_the_largest_values_by_hand() -> None:
    target = (0.2, 0.3, 0.5)
    assert DEVIATION_RATIO.largest(target) == pytest.approx(1, abs=1e-12)
    assert TOTAL_VARIATION.largest(target) == pytest.approx(0.8, abs=1e-12)
    assert KL.largest(target) == pytest.approx(-math.log(0.2), abs=1e-12)
    assert FAIRNESS_DISCREPANCY.largest((0.5, 0.5)) == pytest.approx(math.sqrt(0.5), abs=1e-12)  # .707


def test_only_kl_is_undefined_against_a_share_of_zero() -> None:
    assert [index.name for index in INDICES if not index.defined((1.0, 0.0))] == ["kl"]
    assert all(index.defined((0.9, 0.1)) for index in INDICES)
