"""Shares of the classes of a concept: checked once, here."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..errors import ConceptError

TOLERANCE = 1e-6
"""How far from 1 the sum of given shares may be."""


def checked_shares(shares: Sequence[float], what: str) -> tuple[float, ...]:
    """The shares as a tuple that sums to 1.

    Args:
        shares: one share per class, each in [0, 1]; the sum may miss 1 by `TOLERANCE` and is then normalised.
        what: how an error message calls them, such as "the target of gender".

    Raises: ConceptError when a share is negative or not a number, or when the sum is not 1.
    """
    for share in shares:
        if not (math.isfinite(share) and share >= 0):
            raise ConceptError(f"{what}: share {share:g} given, expected a number from 0 to 1; correct it")
    total = math.fsum(shares)
    # Decimal shares such as .333333 miss 1 by the tolerance exactly, and by rounding a little more.
    if abs(total - 1) > TOLERANCE * (1 + TOLERANCE):
        raise ConceptError(f"{what}: the shares sum to {total:.10g}, expected 1; correct them")
    return tuple(shares) if total == 1 else tuple(share / total for share in shares)
