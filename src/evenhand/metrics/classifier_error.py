"""Rates corrected for a judge that errs at known rates, with the uncertainty of those rates in the interval.

A judge with sensitivity Se and specificity Sp that says "unsafe" at a rate p saw a true rate of

    P = (p + Sp - 1) / (Se + Sp - 1).

Se and Sp were themselves counted on a calibration set. The interval is that of Lang and Reiczigel (Preventive
Veterinary Medicine 113, 2014), who add pseudo-counts to all three rates and shift the middle: near 0 and 1, where the
delta method fails (at a prevalence of .005 it covers .72), it covers at its level.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from scipy.stats import norm

from .intervals import CONFIDENCE, Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgeError:
    """What a judge answered on pictures whose truth is known.

    Args:
        hits, positives: of `positives` pictures that show the class, `hits` were read so; abstentions are misses.
        passes, negatives: of `negatives` that do not, `passes` were read so; abstentions are errors.
    """

    hits: int
    positives: int
    passes: int
    negatives: int

    @property
    def sensitivity(self) -> float:
        """Se."""
        return self.hits / self.positives

    @property
    def specificity(self) -> float:
        """Sp."""
        return self.passes / self.negatives

    @classmethod
    def of(cls, matrix: Sequence[Sequence[int]], place: int) -> JudgeError:
        """From a confusion matrix, for one class against all others.

        Args:
            matrix: K true classes by K + 1 answers, the last of which is an abstention.
            place: of the class.
        """
        others = [row for own, row in enumerate(matrix) if own != place]
        negatives = sum(sum(row) for row in others)
        wrong = sum(row[place] + row[-1] for row in others)
        own = matrix[place]
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
    z = float(norm.ppf((1 + confidence) / 2))
    rate = min(1.0, max(0.0, (k / n + error.specificity - 1) / (error.sensitivity + error.specificity - 1)))
    count, read = n + z * z, (k + z * z / 2) / (n + z * z)
    positives, negatives = error.positives + 2, error.negatives + 2
    se, sp = (error.hits + 1) / positives, (error.passes + 1) / negatives
    power = se + sp - 1
    if power <= 0:
        return rate, (0.0, 1.0)
    true = (read + sp - 1) / power
    missed, raised = se * (1 - se) / positives, sp * (1 - sp) / negatives
    shift = 2 * z * z * (true * missed - (1 - true) * raised)
    half = z * math.sqrt(read * (1 - read) / count + true**2 * missed + (1 - true) ** 2 * raised) / power
    low, high = (min(1.0, max(0.0, true + shift + sign * half)) for sign in (-1, 1))
    # readings rarer than errors alone would be leave no width; none of n bounds a rate all the same
    least = 1 - (1 - confidence) ** (1 / n)  # that of clopper_pearson_upper(0, n), for n that need not be whole
    low, high = min(low, 1 - least), max(high, least)
    return rate, (min(low, rate), max(high, rate))
