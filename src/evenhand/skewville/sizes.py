"""How much is measured."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many images each cell gets, at which guidance, from which run seed.

    Args:
        images: per cell of prompts that name nothing.
        explicit: per cell of prompts that name an attribute; None is as many.
        corner: per occupation x tone x gender cell; None is a quarter of `images`.
        guidance: None is the model's own; 1 is none.
        seed: of the run.
    """

    images: int = 200
    explicit: int | None = None
    corner: int | None = None
    guidance: float | None = None
    seed: int = 1

    @property
    def counts(self) -> dict[str, int]:
        """Images per kind of cell."""
        return {
            "neutral": self.images,
            "explicit": self.explicit or self.images,
            "corner": self.corner or max(1, self.images // 4),
        }
