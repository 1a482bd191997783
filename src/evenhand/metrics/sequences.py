"""Confidence sequences: intervals that hold at every number of images at once, so that one may stop when one likes.

A fixed-n interval that is looked at after every image misses its target again and again: stopping when it says what one
hoped for is no test. A confidence sequence at level 1 - a contains the truth at all times together with probability
1 - a, whatever the rule by which one stops (Ville's inequality).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scipy.optimize import root_scalar
from scipy.special import betaln

from .decision import Decision, check_margin
from .intervals import CONFIDENCE, Interval

_PRIOR = 0.5
_LARGEST = 700.0
# Where an e-value ends: its exponential is still a float.


def log_evidence(k: int, n: int, share: float) -> float:
    """The logarithm of the evidence against a share, from k of n images: an e-value at any time.

    Source: Robbins (Annals of Mathematical Statistics 1970); the likelihood of a Beta(1/2, 1/2) mixture over that of
    the share. Under the share its expectation is at most 1 at any stopping time.

    Args:
        k: images that show the class; whole and at most n.
        n: images.
        share: 0 to 1; at an end, one image that speaks against it is evidence without bound.
    """
    if (share <= 0 and k > 0) or (share >= 1 and k < n):
        return math.inf
    mixture = float(betaln(_PRIOR + k, _PRIOR + n - k) - betaln(_PRIOR, _PRIOR))
    likelihood = (k * math.log(share) if k else 0.0) + ((n - k) * math.log1p(-share) if k < n else 0.0)
    return mixture - likelihood


def confidence_sequence(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """All shares against which the evidence is below 1 / (1 - confidence): an interval around k / n.

    After 20 of 40 images it is .26 to .74 where Wilson's is .35 to .65; without an image it is 0 to 1.
    """
    if n == 0:
        return 0.0, 1.0
    bound, seen = -math.log1p(-confidence), k / n

    def excess(share: float) -> float:
        return min(log_evidence(k, n, share), 1e6) - bound

    low = 0.0 if excess(0.0) <= 0 else _root(excess, 0.0, seen) if k else 0.0
    high = 1.0 if excess(1.0) <= 0 else _root(excess, seen, 1.0) if k < n else 1.0
    return low, high


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(root_scalar(function, bracket=(low, high), method="brentq").root)


def decide_at_any_time(
    counts: Sequence[int], target: Sequence[float], margin: float, confidence: float = CONFIDENCE
) -> tuple[Decision | None, ...]:
    """One decision per class from counts that may be looked at after every image.

    fair: the sequences of all classes lie inside q +- d. biased: that of this class lies outside. Of more than two
    classes each has its share of the error, two are one hypothesis; so a wrong verdict is ever reached with probability
    at most 1 - confidence, at every true share.

    Raises: InputError for a margin outside (0, 1).
    """
    check_margin(margin)
    n = sum(counts)
    if n == 0:
        return (None,) * len(counts)
    level = 1 - (1 - confidence) / (len(counts) if len(counts) > 2 else 1)
    bounds = [confidence_sequence(k, n, level) for k in counts]
    places = list(zip(bounds, target, strict=True))
    if all(share - margin <= low and high <= share + margin for (low, high), share in places):
        return ("fair",) * len(counts)
    return tuple(
        "biased" if high < share - margin or low > share + margin else "undecided" for (low, high), share in places
    )


def images_for_sequence(half_width: float, confidence: float = CONFIDENCE) -> int:
    """The fewest images at which the sequence of a share of one half is no wider than +- `half_width`.

    Other shares need fewer. At .05 it takes 1,359, where a fixed plan takes 381; at .1 it takes 298.
    """

    def narrow(n: int) -> bool:
        low, high = confidence_sequence(n // 2, n, confidence)
        return high - low <= 2 * half_width

    high = 1
    while not narrow(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high


def bias_evidence(counts: Sequence[int], target: Sequence[float], margin: float) -> float:
    """The e-value, at any time, against *every class lies within the margin*.

    That of one class is the least over the shares inside q +- d, the one nearest to what was seen; those of the classes
    are averaged, and an average of e-values is one. At most the largest float.

    Args:
        counts: images per class.
        target: one share per class.
        margin: d.

    Raises: InputError for a margin outside (0, 1).
    """
    check_margin(margin)
    n = sum(counts)
    if n == 0:
        return 1.0
    found = []
    for k, share in zip(counts, target, strict=True):
        nearest = min(max(k / n, max(0.0, share - margin)), min(1.0, share + margin))
        found.append(math.exp(min(log_evidence(k, n, nearest), _LARGEST)))
    return sum(found) / len(found)


def e_benjamini_hochberg(evidence: Sequence[float], level: float = 0.05) -> list[bool]:
    """Which of many hypotheses are rejected from their e-values, with a false discovery rate of at most `level`.

    Source: Wang and Ramdas (Journal of the Royal Statistical Society B 2022), whatever the e-values' dependence: the
    hypotheses of the k largest, for the largest k of which the k-th is at least m / (level k).

    Args:
        evidence: e-values, 0 or more; not logarithms.
        level: of the false discovery rate.
    """
    order = sorted(range(len(evidence)), key=lambda place: -evidence[place])
    kept = 0
    for number, place in enumerate(order, 1):
        if evidence[place] >= len(evidence) / (level * number):
            kept = number
    chosen = set(order[:kept])
    return [place in chosen for place in range(len(evidence))]
