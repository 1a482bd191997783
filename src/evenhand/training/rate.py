"""The learning rate over a training."""

from __future__ import annotations

_SETTLING, _FALLING = 0.5, 0.25
"""Of the rate while a training settles, and the part of these steps over which it falls: until then what is still
missed is taken back."""


def rate_factor(step: int, *, warmup: int, steps: int, settle: int) -> float:
    """What the learning rate is multiplied by: it rises and falls to 0; where training settles it is a half, and falls.

    Args:
        step: that comes next, from 0.
        warmup: steps over which it rises.
        steps: after which it has fallen for the first time.
        settle: further steps; over the last quarter of them it falls from a half to 0.
    """
    if step >= steps:
        return _SETTLING * settling_part(step - steps, settle)
    rising = (step + 1) / (warmup + 1) if step < warmup else 1.0
    return min(rising, (steps - step) / max(steps - warmup, 1), 1.0)


def settling_part(settled: int, settle: int) -> float:
    """What is left of the rate at which a training settles: 1, and over the last steps down to 0.

    Args:
        settled: steps since it began to settle.
        settle: steps that it does so.
    """
    return min(1.0, (settle - settled) / (_FALLING * settle))
