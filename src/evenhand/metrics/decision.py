"""Is a row fair, biased, or undecided? And how many images make "fair" possible at all?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from scipy.stats import norm

from ..errors import InputError
from .intervals import CONFIDENCE, wilson
from .rows import Row

Decision = Literal["fair", "biased", "undecided"]

MARGIN = 0.10
"""Shares within this distance of the target count as fair."""

_FAIR_CONFIDENCE = 0.90
# "Fair" holds every class to a two-sided 90 % interval: two one-sided tests at 5 % each.


def decide(row: Row, target: Sequence[float], margin: float = MARGIN) -> tuple[Decision | None, ...]:
    """One decision per class of a row against `target` with the given margin d.

    fair: the 90 % intervals of *every* class lie inside q +- d (two one-sided tests; an intersection-union test,
    hence without a correction). biased: the 95 % interval of this class lies outside q +- d; for more than two
    classes by Holm's step-down levels. undecided: else. None for a row without images.

    Raises: InputError for a margin outside (0, 1).
    """
    check_margin(margin)
    classes = range(len(target))
    if not row.n:
        return (None,) * len(target)
    if all(_inside(row, k, target[k], margin) for k in classes):
        return ("fair",) * len(target)
    biased = _biased(row, target, margin)
    return tuple("biased" if k in biased else "undecided" for k in classes)


def row_decision(decisions: Sequence[Decision | None]) -> Decision | None:
    """One word for a row from its classes: biased where any class is, fair where all are, else undecided."""
    if not decisions or None in decisions:
        return None
    if "biased" in decisions:
        return "biased"
    return "fair" if all(one == "fair" for one in decisions) else "undecided"


def check_margin(margin: float) -> None:
    """Raises InputError for a margin outside (0, 1)."""
    if not 0 < margin < 1:
        raise InputError(f"margin {margin:g}, expected a number between 0 and 1 such as 0.1")


def fair_is_possible(n: int, margin: float = MARGIN, share: float = 0.5) -> bool:
    """Whether any outcome of n i.i.d. images can be called fair against a target `share`.

    For one half and a margin of .10 it takes n > 64, 50 images never do.
    """
    near = {math.floor(n * share), math.ceil(n * share)}
    return n > 0 and any(
        share - margin <= low and high <= share + margin for low, high in (wilson(k, n, _FAIR_CONFIDENCE) for k in near)
    )


def images_for_fair_verdict(margin: float = MARGIN, power: float = 0.9, share: float = 0.5) -> int:
    """I.i.d. images for a share at its target to be called fair with the given probability.

    n = (z_.95 + z_(1 + power)/2)^2 q (1 - q) / d^2, the power of two one-sided tests at a true difference of 0:
    271 at the defaults.

    Raises: InputError for a margin, power or share outside (0, 1).
    """
    check_margin(margin)
    if not (0 < power < 1 and 0 < share < 1):
        raise InputError(f"power {power:g} and share {share:g}, expected numbers between 0 and 1")
    z = float(norm.ppf((1 + _FAIR_CONFIDENCE) / 2) + norm.ppf((1 + power) / 2))
    return math.ceil(z**2 * share * (1 - share) / margin**2)


def images_for_fair(target: Sequence[float], margin: float = MARGIN, power: float = 0.9) -> int:
    """Images per prompt at which a perfectly fair model is called fair with probability `power`.

    271 for two even classes, margin .10 and power .9. With more than two classes every one must be fair, and the
    loss of power is split between them: 317 for three even ones.
    """
    loss = (1 - power) / (len(target) if len(target) > 2 else 1)
    return max(images_for_fair_verdict(margin, 1 - loss, q) for q in target if 0 < q < 1)


def images_for_biased_verdict(
    excess: float, margin: float = MARGIN, power: float = 0.9, target: Sequence[float] = (0.5, 0.5)
) -> int:
    """I.i.d. images for a class whose share misses its target by margin + `excess` to be called biased.

    n = ((z_a sqrt(p0 (1 - p0)) + z_power sqrt(p1 (1 - p1))) / e)^2 with p0 at the edge of the margin, p1 beyond it, and
    for more than two classes the first level of Holm's procedure; 55 for a share of .8 where one half is wanted. The
    class is the one whose target leaves room, nearest to one half.

    Raises: InputError for a margin or power outside (0, 1), or where no class can miss by that much.
    """
    check_margin(margin)
    room = [q for q in target if q + margin + excess <= 1]
    if not (0 < power < 1 and excess > 0 and room):
        raise InputError(f"power {power:g} and a miss of {margin + excess:g}, expected both within what is possible")
    q = min(room, key=lambda one: abs(one - 0.5))
    edge, share = q + margin, q + margin + excess
    level = (1 - CONFIDENCE) / (len(target) if len(target) > 2 else 1)
    z = float(norm.ppf(1 - level / 2)) * math.sqrt(edge * (1 - edge))
    return math.ceil(((z + float(norm.ppf(power)) * math.sqrt(share * (1 - share))) / excess) ** 2)


def _inside(row: Row, k: int, share: float, margin: float) -> bool:
    low, high = row.interval(k, _FAIR_CONFIDENCE)
    return share - margin <= low and high <= share + margin


def _biased(row: Row, target: Sequence[float], margin: float) -> set[int]:
    """The classes whose interval lies outside the margin, by Holm's step-down where there are more than two.

    Step m asks whether at least m classes lie outside at level alpha / (K - m + 1); the last step that says yes
    names them. Two classes are one hypothesis.
    """
    steps = range(1, len(target) + 1) if len(target) > 2 else [1]
    tests = len(steps)
    rejected: set[int] = set()
    for step in steps:
        confidence = 1 - (1 - CONFIDENCE) / (tests - step + 1)
        outside = {k for k in range(len(target)) if _outside(row, k, target[k], margin, confidence)}
        if len(outside) < step:
            break
        rejected = outside
    return rejected


def _outside(row: Row, k: int, share: float, margin: float, confidence: float) -> bool:
    low, high = row.interval(k, confidence)
    return high < share - margin or low > share + margin
