"""Showing that nothing got worse: power and numbers of pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evenhand.metrics.not_worse import pairs_not_worse, pairs_to_equate, power_not_worse
from evenhand.metrics.paired import paired_difference


def test_known_numbers_of_pairs() -> None:
    # (1.960 + 1.282)^2 = 10.507; x .04 / .0009 = 466.98
    assert pairs_not_worse(0.04, 0.03) == 467
    # (1.645 + 1.645)^2 = 10.822; 1 point at 2 and 5 %, 3 points at 4 %
    assert (pairs_to_equate(0.02, 0.01), pairs_to_equate(0.05, 0.01), pairs_to_equate(0.04, 0.03)) == (2165, 5412, 481)
    # (1.645 + 1.282)^2 is a power of .8, not of .9
    assert pairs_to_equate(0.04, 0.03, 0.8) == 381


def test_the_power_is_that_of_the_number() -> None:
    for discordance in (0.02, 0.08):
        n = pairs_not_worse(discordance, 0.03, 0.8)
        assert power_not_worse(math.sqrt(discordance / n), 0.03) == pytest.approx(0.8, abs=0.005)
    assert power_not_worse(1.0, 0.03) < 0.03


def test_an_error_of_nothing_shows_nothing() -> None:
    with pytest.raises(ValueError, match="above 0"):
        power_not_worse(0.0, 0.01)


def test_simulated_pairs_succeed_as_often() -> None:
    rng = np.random.default_rng(4)
    n = pairs_not_worse(0.04, 0.03, 0.8)
    shown = 0
    for _ in range(300):
        which = rng.random(n)
        before, after = (which < 0.02) | (which > 0.5), ((which >= 0.02) & (which < 0.04)) | (which > 0.5)
        shown += paired_difference(before.tolist(), after.tolist())[1][1] <= 0.03
    # a standard error is .023
    assert shown / 300 == pytest.approx(0.8, abs=0.07)
