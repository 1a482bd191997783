"""How much is measured."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """Images per cell (a quarter of that per occupation x tone x gender cell), guidance and run seed.

    `guidance` None means the model's own; 1 means none.
    """

    images: int = 200
    guidance: float | None = None
    seed: int = 1
