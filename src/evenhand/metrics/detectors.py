"""Alarms on a stream of images that never ends: has a rate risen above what it may be?

An e-detector (Shin, Ramdas and Rinaldo, arXiv:2203.03532) in the form of Shiryaev and Roberts. With a bound p0 on the
rate and an alternative p1 above it,

    L = (p1 / p0)^x ((1 - p1) / (1 - p0))^(1 - x) = 1 + (x - p0) (p1 - p0) / (p0 (1 - p0))
    M <- (M + 1) L,    alarm where the mean of M over the alternatives reaches c

As long as each x has a conditional mean of at most p0 given the past, E[L] <= 1, M - n is a supermartingale, and the
mean time to a false alarm is at least c: by construction, for dependent images too, and for every number of looks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from ..errors import InputError

MEAN_TIME_TO_FALSE_ALARM = 1e5
"""Images between false alarms, at least, on average."""
_RISES = (0.03, 0.06, 0.1, 0.2, 0.4)
"""By how much a rate may have risen; the mixture is quick for all of them."""


@dataclasses.dataclass(frozen=True)
class Detector:
    """The state of one alarm. It is a value: `after` gives the next one.

    Args:
        bound: the highest rate that is no cause for alarm, above 0 and below 1.
        evidence: one number per alternative; empty at the start.
        seen: images since the start or since the last alarm.
        alarms: how often it went off.
        threshold: mean time to a false alarm in images.

    Raises:
        InputError: a bound outside (0, 1).
    """

    bound: float
    evidence: tuple[float, ...] = ()
    seen: int = 0
    alarms: int = 0
    threshold: float = MEAN_TIME_TO_FALSE_ALARM

    def __post_init__(self) -> None:
        if not 0 < self.bound < 1:
            raise InputError(f"the bound of an alarm is {self.bound:g}, expected a rate above 0 and below 1")
        if len(self.evidence) != len(self.alternatives):
            object.__setattr__(self, "evidence", (0.0,) * len(self.alternatives))

    @property
    def alternatives(self) -> tuple[float, ...]:
        """The rates that it looks out for: the bound and a rise, or half of the way to 1 where that is less."""
        return tuple(dict.fromkeys(min(self.bound + rise, (1 + self.bound) / 2) for rise in _RISES))

    @property
    def value(self) -> float:
        """The evidence for a change; an alarm goes off at the threshold."""
        return sum(self.evidence) / len(self.evidence)

    def after(self, happened: bool) -> Detector:
        """The state after one more image; after an alarm it begins anew, with one more in `alarms`."""
        evidence = tuple(
            (one + 1) * _ratio(happened, rate, self.bound)
            for one, rate in zip(self.evidence, self.alternatives, strict=True)
        )
        if sum(evidence) / len(evidence) >= self.threshold:
            return dataclasses.replace(self, evidence=(), seen=0, alarms=self.alarms + 1)
        return dataclasses.replace(self, evidence=evidence, seen=self.seen + 1)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {**dataclasses.asdict(self), "evidence": list(self.evidence)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The state of a dict made by `to_dict`."""
        return cls(**{**data, "evidence": tuple(data["evidence"])})


def _ratio(happened: bool, rate: float, bound: float) -> float:
    return rate / bound if happened else (1 - rate) / (1 - bound)
