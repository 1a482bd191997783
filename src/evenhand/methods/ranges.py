"""Which numbers a parameter takes."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """Finite numbers between two ends; every number where there are none.

    Args:
        low: the least one that is taken.
        high: the greatest one that is taken.
        above: taken are numbers above it alone.
        below: taken are numbers below it alone.
        whole: whether a fraction is refused.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    whole: bool = False

    def __contains__(self, number: float) -> bool:
        """Whether a number is taken; nan and infinity never are."""
        return (
            math.isfinite(number)
            and (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and not (self.whole and number != round(number))
        )

    def __str__(self) -> str:
        """In words, as in "expected a whole number of 1 or more"."""
        if self.whole and (self.low, self.high) == (0, 1):
            return "0 or 1"
        kind = "a whole number" if self.whole else "a number"
        if self.low is not None and self.high is not None:
            return f"{kind} of {self.low:g} to {self.high:g}"
        ends = [
            "" if self.low is None else f"of {self.low:g} or more",
            "" if self.above is None else f"above {self.above:g}",
            "" if self.high is None else f"of {self.high:g} or less",
            "" if self.below is None else f"below {self.below:g}",
        ]
        return f"{kind} {' and '.join(end for end in ends if end)}".strip()


FINITE = Range()
POSITIVE = Range(above=0)
NOT_NEGATIVE = Range(low=0)
"""Where 0 is off, too."""
PART = Range(low=0, high=1)
COUNT = Range(low=1, whole=True)
COUNT_OR_NONE = Range(low=0, whole=True)
SWITCH = Range(low=0, high=1, whole=True)
