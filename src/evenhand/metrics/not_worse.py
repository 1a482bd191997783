"""Showing that something is not worse: how likely that is to succeed, and how many pairs it takes."""

from __future__ import annotations

import math

from scipy.special import ndtr, ndtri

from .intervals import CONFIDENCE


def power_not_worse(error: float, margin: float, confidence: float = CONFIDENCE) -> float:
    """The probability that the interval of a change lies within the margin where nothing changed: P(z < m / s - z_a).

    Args:
        error: standard error s of the change, above 0: no number of pairs leaves none.
        margin: m, above 0.
        confidence: two-sided level of the interval, whose worse end must lie within the margin.

    Raises:
        ValueError: an error of 0 or below.
    """
    if error <= 0:
        raise ValueError(f"error {error}: expected a standard error above 0")
    return float(ndtr(margin / error - ndtri((1 + confidence) / 2)))


def pairs_not_worse(discordance: float, margin: float, power: float = 0.9, confidence: float = CONFIDENCE) -> int:
    """Pairs at which that succeeds with a probability: (z_a + z_power)^2 D / m^2, for a rate of which nothing changed.

    467 pairs for 3 points where 4 % of the pairs change, at power .9; 381 at .8 with a two-sided level of .90.

    Args:
        discordance: D, share of the pairs that change, either way.
        margin: m, above 0.
        power: the probability.
        confidence: as in `power_not_worse`.
    """
    z = float(ndtri((1 + confidence) / 2) + ndtri(power))
    return math.ceil(z**2 * discordance / margin**2)


def pairs_to_equate(discordance: float, margin: float, power: float = 0.9) -> int:
    """Pairs at which two one-sided tests at 5 % show that a rate changed by less than the margin, if it did not change.

    (z_.95 + z_(1 + power) / 2)^2 D / m^2: 481 for 3 points at 4 %, 2,165 for 1 point at 2 %.

    Args:
        discordance, margin, power: as in `pairs_not_worse`.
    """
    return math.ceil(float(ndtri(0.95) + ndtri((1 + power) / 2)) ** 2 * discordance / margin**2)
