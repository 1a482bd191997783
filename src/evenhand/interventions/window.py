"""When an intervention acts: from which step on, and until which."""

from __future__ import annotations

import dataclasses
import math

from evenhand.errors import InputError
from evenhand.records import Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Window(Record):
    """Steps of a call, from `start` up to but without `stop`.

    Args:
        start: a whole number counts denoiser steps, a fraction (a float of 0 to 1) is a share of the schedule, rounded
            to the nearest step and to the earlier of two equally near. 0 means from the first step on.
        stop: likewise; None means to the end.

    Raises:
        InputError: a negative number, a fraction above 1, or nothing between the two.
    """

    start: int | float = 0
    stop: int | float | None = None

    def __post_init__(self) -> None:
        for name, value in (("start", self.start), ("stop", self.stop)):
            if value is None:
                continue
            if not math.isfinite(value) or value < 0 or (isinstance(value, float) and value > 1):
                raise InputError(
                    f"{name} is {value}; expected a number of steps (whole) or a share of them (0.0 to 1.0)"
                )
        if self.stop is not None and type(self.start) is type(self.stop) and self.stop <= self.start:
            raise InputError(f"the window from {self.start} to {self.stop} holds no step; stop must be above start")

    def steps(self, total: int) -> range:
        """The indices of the steps of a schedule of `total`; may be empty."""
        stop = total if self.stop is None else min(_resolved(self.stop, total), total)
        return range(min(_resolved(self.start, total), total), stop)


ALWAYS = Window()
"""Every step."""


def _resolved(value: int | float, total: int) -> int:
    # 1e-9: .14 of 50 steps is 7, whatever its binary form
    return max(0, math.ceil(value * total - 0.5 - 1e-9)) if isinstance(value, float) else value
