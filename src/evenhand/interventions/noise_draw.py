"""The initial noise: coordinates along named directions get a law of their own, everything else keeps its value.

With unit directions as the columns of U, their inner products G = U^T U, the coordinates s0 = U^T z of standard normal
noise and the wanted ones s,

    z' = z + U G^-1 (s - s0)

has exactly the coordinates s and the complement of z. Directions that are not orthogonal (a tone of skin and an age) do
not move each other, and a protected one keeps its coordinate. A plain sum, the published form for several directions,
moves each by the others' share too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from evenhand.errors import InputError, ModelError
from evenhand.host.sites import Call, Site
from evenhand.interventions.noise_laws import SAME, Law, joint_kl

LARGEST_CONDITION = 30.0
"""Of G: above it two directions say nearly the same, and telling them apart would cost any number of nats."""

LawsOf = Callable[[Call], Sequence[Mapping[str, Law]]]
"""For each image of a call: direction -> its law; an empty mapping leaves the image alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseDraw:
    """An intervention on the initial noise.

    Args:
        name: how reports call it.
        axes: direction -> tensor of the shape of one image's latents; any norm.
        own: prompt row -> the directions that it has of its own, in place of those.
        rows: for each image of a call its prompt row; None where no row has directions of its own.
        laws: for each image of a call the laws of its coordinates. Directions without one keep their coordinate.
        renorm: "none" keeps the complement's values; "chi" gives the noise its old norm back, which scales them.
        additive: True adds the shifts of the laws along each direction, as published: directions move each other.
        strength: share of the way from the drawn coordinate to the law's; 1 as calibrated, 0 is off.

    Raises:
        InputError: no direction, or some that say nearly the same.
    """

    name: str
    axes: Mapping[str, torch.Tensor]
    laws: LawsOf
    own: Mapping[str, Mapping[str, torch.Tensor]] = dataclasses.field(default_factory=dict)
    rows: Callable[[Call], Sequence[str]] | None = None
    renorm: Literal["none", "chi"] = "none"
    additive: bool = False
    strength: float = 1.0
    site: Site = "initial noise"

    def __post_init__(self) -> None:
        if not self.axes:
            raise InputError(f"{self.name} has no direction")
        for row in ("", *self.own):
            condition = float(np.linalg.cond(self.frame(row).gram))
            if not condition <= LARGEST_CONDITION:
                where = f" for {row}" if row else ""
                raise InputError(
                    f"{self.name}: the directions {', '.join(self.axes)} say nearly the same{where} "
                    f"(condition {condition:.0f}, at most {LARGEST_CONDITION:.0f}); leave one of them out"
                )

    def scaled(self, strength: float) -> NoiseDraw:
        """The same draw at another strength."""
        return dataclasses.replace(self, strength=strength)

    def frame(self, row: str = "") -> AxisFrame:
        """The directions of a prompt row."""
        return AxisFrame.of({**self.axes, **self.own.get(row, {})}.values())

    def check(self, host: Any) -> None:
        """Every pipeline starts from noise; its shape is known when it is drawn."""

    def begin(self, call: Call) -> NoiseDrawEffect | None:
        """The effect on one call; None where no coordinate has a law."""
        laws = tuple(self.laws(call))
        unknown = {name for one in laws for name in one} - set(self.axes)
        if unknown:
            raise InputError(f"{self.name} has no direction {min(unknown)!r}; it has {', '.join(self.axes)}")
        rows = [""] * len(laws) if self.rows is None else list(self.rows(call))
        return NoiseDrawEffect(self, laws, rows) if any(laws) else None


class NoiseDrawEffect:
    """One call."""

    def __init__(self, draw: NoiseDraw, laws: Sequence[Mapping[str, Law]], rows: Sequence[str]) -> None:
        self._draw, self._laws, self._rows = draw, laws, rows
        self._frames = {row: draw.frame(row) for row in dict.fromkeys(rows)}
        self._records: list[dict[str, Any]] = [{} for _ in laws]
        self._nats: dict[tuple[Any, ...], float] = {}  # laws compare by identity

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """The noise with its coordinates moved; an image whose coordinates stay keeps its bits."""
        if noise[0].numel() != self._frames[self._rows[0]].unit.shape[1]:
            shape = tuple(next(iter(self._draw.axes.values())).shape)
            raise ModelError(
                f"{self._draw.name}: its directions were fitted on latents of shape {shape}, here they have "
                f"{tuple(noise.shape[1:])}; use the image size that they were fitted at"
            )
        flat = noise.detach().double().cpu().flatten(1)
        moved = torch.stack([self._moved(place, one) for place, one in enumerate(flat)])
        changed = torch.tensor([bool((new != old).any()) for new, old in zip(moved, flat, strict=True)])
        if self._draw.renorm == "chi":
            moved = moved * (flat.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True))
        where = changed.view(-1, *[1] * (noise.ndim - 1)).to(noise.device)
        return torch.where(where, moved.view(noise.shape).to(noise), noise)

    def _moved(self, place: int, noise: torch.Tensor) -> torch.Tensor:
        """One image's noise, (values,); the very same where no coordinate moves."""
        frame, laws = self._frames[self._rows[place]], self._laws[place]
        drawn = (frame.unit @ noise).numpy()
        by = np.zeros_like(drawn)
        for k, name in enumerate(self._draw.axes):
            law = laws.get(name, SAME)
            if law is not SAME:
                by[k] = self._draw.strength * (float(law.map(drawn[k : k + 1])[0]) - drawn[k])
        self._records[place] = {
            "coordinates": {
                name: [round(float(drawn[k]), 4), round(float(drawn[k] + by[k]), 4)]
                for k, name in enumerate(self._draw.axes)
            },
            "nats": round(self._cost(self._rows[place], tuple(laws.get(name, SAME) for name in self._draw.axes)), 4),
        }
        if not by.any():
            return noise
        along = by if self._draw.additive else np.linalg.inv(frame.gram) @ by
        return noise + torch.from_numpy(along) @ frame.unit

    def _cost(self, row: str, laws: tuple[Law, ...]) -> float:
        key = (row, *laws)
        if key not in self._nats:
            self._nats[key] = joint_kl(laws, self._frames[row].gram)
        return self._nats[key]

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Per image: each coordinate before and after, and what its law costs."""
        return self._records


@dataclasses.dataclass(frozen=True)
class AxisFrame:
    """Directions as unit vectors, (directions, values) in float64, and their inner products."""

    unit: torch.Tensor
    gram: np.ndarray

    @classmethod
    def of(cls, axes: Iterable[torch.Tensor]) -> AxisFrame:
        """Of directions of any norm."""
        flat = torch.stack([one.double().flatten() for one in axes])
        unit = flat / flat.norm(dim=1, keepdim=True)
        return cls(unit, (unit @ unit.T).numpy())
