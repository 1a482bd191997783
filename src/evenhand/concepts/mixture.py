"""Between two classes: "light:0.7+medium:0.3" asks for what lies three tenths of the way from light to medium."""

from __future__ import annotations

import math
from collections.abc import Collection

from ..errors import InputError

_SUM = 1e-6


def mixture(name: str) -> dict[str, float]:
    """Class -> weight of "light:0.7+medium:0.3"; a class alone has the weight 1.

    The weights sum to 1. One below 0 goes beyond a class, away from the other.

    Raises:
        InputError: a weight that is no number, a class given twice, or weights that do not sum to 1.
    """
    if ":" not in name:
        return {name: 1.0}
    found: dict[str, float] = {}
    for part in name.split("+"):
        label, _, text = (piece.strip() for piece in part.partition(":"))
        try:
            weight = float(text)
        except ValueError:
            weight = math.nan
        if not label or not math.isfinite(weight) or label in found:
            raise InputError(f"class {name!r}: expected classes with weights, such as light:0.7+medium:0.3, each once")
        found[label] = weight
    total = sum(found.values())
    if abs(total - 1) > _SUM:
        raise InputError(f"class {name!r}: the weights sum to {total:g}, expected 1")
    return found


def checked_class(name: str, classes: Collection[str], subject: str) -> str:
    """A class, or a mixture of some, as it was given.

    Args:
        name: what was asked for.
        classes: those that there are.
        subject: who asks, for the message.

    Raises:
        InputError: one that there is not.
    """
    if name in classes:
        return name
    unknown = [one for one in mixture(name) if one not in classes]
    if unknown:
        raise InputError(
            f"{subject}: class={unknown[0]}, expected one of {', '.join(classes)}, or a mixture such as "
            f"{_example(classes)}"
        )
    return name


def _example(classes: Collection[str]) -> str:
    first, *others = classes
    return f"{first}:0.7+{others[0]}:0.3" if others else first
