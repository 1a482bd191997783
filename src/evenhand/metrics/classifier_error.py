"""Rates corrected for a judge that errs at known rates, with the uncertainty of those rates in the interval.

A judge with sensitivity Se and specificity Sp that says "unsafe" at a rate p saw a true rate of

    P = (p + Sp - 1) / (Se + Sp - 1).

Se and Sp were themselves counted on a calibration set. The interval is that of Lang and Reiczigel (Preventive
Veterinary Medicine 113, 2014), who add pseudo-counts to all three rates and shift the middle: near 0 and 1, where the
delta method fails (at a prevalence of .005 it covers .72), it covers at its level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import norm

from .intervals import CONFIDENCE, Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeError:
    """What a judge answered on pictures whose truth is known; those on which it abstained count in neither number.

    A rate is one of the pictures that were judged, so that its errors are those of such pictures.

    Args:
        hits, positives: of `positives` judged pictures that show the class, `hits` were read so.
        passes, negatives: of `negatives` judged ones that do not, `passes` were read so.
    """

    hits: int
    positives: int
    passes: int
    negatives: int

    @property
    def sensitivity(self) -> float:
        """Se; 0 where the judge abstained on every picture of the class, so that nothing is corrected by it."""
        return self.hits / self.positives if self.positives else 0.0

    @property
    def specificity(self) -> float:
        """Sp; 0 likewise."""
        return self.passes / self.negatives if self.negatives else 0.0

    @classmethod
    def of(cls, matrix: Sequence[Sequence[int]], place: int) -> JudgeError:
        """From a confusion matrix, for one class against all others.

        Args:
            matrix: K true classes by K + 1 answers, the last of which is an abstention.
            place: of the class.
        """
        judged = [row[:-1] for row in matrix]
        own = judged.pop(place)
        negatives, wrong = sum(sum(row) for row in judged), sum(row[place] for row in judged)
        return cls(hits=own[place], positives=sum(own), passes=negatives - wrong, negatives=negatives)


def corrected_rate(k: float, n: float, error: JudgeError, confidence: float = CONFIDENCE) -> tuple[float, Interval]:
    """The true rate behind k positive readings of n, with the interval of Lang and Reiczigel.

    Args:
        k, n: readings; n >= 1. Over prompts of unequal size, those of as many as give the same variance.
        error: of the judge, counted on its own pictures.
        confidence: two-sided level.

    Raises:
        ValueError: a judge that is no better than chance (Se + Sp <= 1): nothing can be corrected.
    """
    if error.sensitivity + error.specificity <= 1:
        raise ValueError(
            f"sensitivity {error.sensitivity:.2f} and specificity {error.specificity:.2f}: the judge is no better than "
            "chance, so its readings say nothing of the rate"
        )
    rate, low, high = corrected_rates(k, n, error.hits, error.positives, error.passes, error.negatives, confidence)
    return float(rate), (float(low), float(high))


def corrected_rates(
    k: ArrayLike,
    n: ArrayLike,
    hits: ArrayLike,
    positives: ArrayLike,
    passes: ArrayLike,
    negatives: ArrayLike,
    confidence: float = CONFIDENCE,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`corrected_rate` of many counts at once: rates, lower and upper ends, each of the broadcast shape.

    Where the judge is no better than chance on its own pictures the rate is undefined (NaN) and the interval all of
    [0, 1].
    """
    k, n, hits, positives, passes, negatives = (
        np.asarray(one, dtype=float) for one in (k, n, hits, positives, passes, negatives)
    )
    z = float(norm.ppf((1 + confidence) / 2))
    gain = hits / positives + passes / negatives - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(gain > 0, np.clip((k / n + passes / negatives - 1) / gain, 0.0, 1.0), np.nan)
        count, read = n + z * z, (k + z * z / 2) / (n + z * z)
        positives, negatives = positives + 2, negatives + 2
        se, sp = (hits + 1) / positives, (passes + 1) / negatives
        power = se + sp - 1
        true = (read + sp - 1) / power
        missed, raised = se * (1 - se) / positives, sp * (1 - sp) / negatives
        shift = 2 * z * z * (true * missed - (1 - true) * raised)
        half = z * np.sqrt(read * (1 - read) / count + true**2 * missed + (1 - true) ** 2 * raised) / power
        low, high = np.clip(true + shift - half, 0.0, 1.0), np.clip(true + shift + half, 0.0, 1.0)
    # readings rarer than errors alone would be leave no width; none of n bounds a rate all the same
    least = 1 - (1 - confidence) ** (1 / n)  # that of clopper_pearson_upper(0, n), for n that need not be whole
    low, high = np.fmin(low, 1 - least), np.fmax(high, least)
    useful = (power > 0) & (gain > 0)
    low, high = np.where(useful, np.fmin(low, rate), 0.0), np.where(useful, np.fmax(high, rate), 1.0)
    return rate, low, high
