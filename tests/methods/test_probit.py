"""The handle of a coordinate: known answers, recovery from simulated images, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from evenhand.methods.probit import Handle, fit_handle


def handle(strength: float, **natural: tuple[float, ...]) -> Handle:
    """A handle under which rows have given natural shares, from the first class up."""
    slope = strength / math.sqrt(1 - strength**2)
    cuts = {
        row: tuple(float(norm.ppf(sum(shares[: k + 1]))) * math.sqrt(1 + slope**2) for k in range(len(shares) - 1))
        for row, shares in natural.items()
    }
    return Handle(slope=slope, error=0.1, cuts={"": next(iter(cuts.values())), **cuts})


def simulated(truth: Handle, rows: list[str], images: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    names = [row for row in rows for _ in range(images)]
    s = rng.standard_normal(len(names)) + rng.choice([-2.0, 0.0, 2.0], len(names))
    likely = np.concatenate([truth.chances(name, s[k : k + 1]) for k, name in enumerate(names)])
    labels = (rng.random(len(names))[:, None] > likely.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return names, s, labels


def test_a_shift_moves_the_share_as_the_probit_says() -> None:
    # R = .3 and a natural share of .1: shifts of 1, 2 and 3 give .163, .248 and .351
    one = handle(0.3, a=(0.9, 0.1))
    drawn = norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    found = [one.chances("a", drawn + by)[:, 1].mean() for by in (0, 1, 2, 3)]
    assert found == pytest.approx([0.1, 0.163, 0.248, 0.351], abs=1e-3)
    assert one.natural("a") == pytest.approx([0.9, 0.1])
    assert one.strength == pytest.approx(0.3)


@pytest.mark.parametrize("shares", [(0.8, 0.2), (0.2, 0.5, 0.3)])
def test_strength_and_shares_are_recovered(shares: tuple[float, ...]) -> None:
    truth = handle(0.6, a=shares, b=tuple(reversed(shares)))
    rows, s, labels = simulated(truth, ["a", "b"], 600, 1)
    found = fit_handle(rows, s.tolist(), labels.tolist(), len(shares))
    assert found.strength == pytest.approx(0.6, abs=0.06)
    for row in ("a", "b"):
        assert found.natural(row) == pytest.approx(truth.natural(row), abs=0.06)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    truth = handle(0.4, a=(0.7, 0.3))
    inside = 0
    for seed in range(60):
        rows, s, labels = simulated(truth, ["a"], 120, seed)
        low, high = fit_handle(rows, s.tolist(), labels.tolist(), 2).interval()
        inside += low <= 0.4 <= high
    assert inside >= 52  # 57 are expected of 60; fewer than 52 have a chance of a half per cent


def test_a_coordinate_that_decides_nothing_has_an_interval_around_zero() -> None:
    rng = np.random.default_rng(2)
    low, high = fit_handle(
        ["a"] * 300, rng.standard_normal(300).tolist(), rng.integers(0, 2, 300).tolist(), 2
    ).interval()
    assert low < 0 < high


def test_a_class_that_was_never_seen_and_one_that_is_decided_alone_stay_finite() -> None:
    never = fit_handle(["a"] * 50, np.linspace(-2, 2, 50).tolist(), [0] * 50, 2)
    assert 0 < never.natural("a")[1] < 0.1
    s = np.linspace(-2, 2, 100)
    alone = fit_handle(["a"] * 100, s.tolist(), (s > 0.5).astype(int).tolist(), 2)
    assert 0.9 < alone.strength < 1


def test_a_weight_counts_like_so_many_images() -> None:
    rows, s, labels = simulated(handle(0.5, a=(0.6, 0.4)), ["a"], 80, 3)
    twice = fit_handle(rows * 2, [*s, *s], [*labels, *labels], 2, own=True)
    weighted = fit_handle(rows, s.tolist(), labels.tolist(), 2, own=True, weights=[2.0] * len(rows))
    assert weighted.slope == pytest.approx(twice.slope, abs=1e-3)
    assert weighted.error == pytest.approx(twice.error, rel=1e-2)
    assert weighted.cuts["a"] == pytest.approx(twice.cuts["a"], abs=1e-3)


def test_a_prompt_of_no_row_has_the_mean_cuts() -> None:
    one = handle(0.5, a=(0.5, 0.5))
    assert one.natural("unknown") == pytest.approx(one.natural(""))


def test_without_images_there_is_no_handle() -> None:
    with pytest.raises(ValueError, match="no images"):
        fit_handle([], [], [], 2)
