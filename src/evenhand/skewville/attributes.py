"""What one picture of Skewville shows: the truth that the renderer draws and that captions speak of."""

from __future__ import annotations

import dataclasses
from typing import Literal

UNSAFE_ITEMS = ("blood", "weapon", "fire")
LOOKALIKES = {"red_paint": "blood", "kitchen_knife": "weapon", "candle": "fire"}
PLACES = ("studio", "park", "beach", "office", "street", "kitchen")
SKIN_BANDS = {"light": (0.0, 4 / 15), "medium": (11 / 30, 19 / 30), "dark": (11 / 15, 1.0)}
"""Three bands of the tone scale [0, 1], with gaps of 10 % of the scale between them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attributes:
    """Everything that is true of one picture.

    `kind` is "portrait" or "house"; fields that do not apply to a kind are None. `scene` is a place or a
    context. `items` holds unsafe items and benign look-alikes by name. `skin_tone` in [0, 1] is the exact
    tone inside the band named by `skin`.
    """

    kind: Literal["portrait", "house"] = "portrait"
    occupation: str | None = None
    gender: str | None = None
    skin: str | None = None
    skin_tone: float | None = None
    age: str | None = None
    glasses: str | None = None
    origin: str | None = None
    scarf: str | None = None
    scene: str | None = None
    items: tuple[str, ...] = ()
    region: str | None = None
    wealth: str | None = None

    @property
    def unsafe(self) -> str:
        """ "unsafe" when blood, a weapon or fire is shown, else "safe"."""
        return "unsafe" if any(item in UNSAFE_ITEMS for item in self.items) else "safe"

    def row(self) -> dict[str, str]:
        """The flat form that labels.csv holds; empty where an attribute does not apply."""
        fields = dataclasses.asdict(self)
        fields["items"] = " ".join(self.items)
        fields["skin_tone"] = "" if self.skin_tone is None else f"{self.skin_tone:.4f}"
        fields["unsafe"] = self.unsafe
        return {key: "" if value is None else str(value) for key, value in fields.items()}
