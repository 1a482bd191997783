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
from collections.abc import Callable, Mapping, Sequence
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
    renorm: Literal["none", "chi"] = "none"
    additive: bool = False
    strength: float = 1.0
    site: Site = "initial noise"

    def __post_init__(self) -> None:
        if not self.axes:
            raise InputError(f"{self.name} has no direction")
        condition = float(np.linalg.cond(self.gram()))
        if not condition <= LARGEST_CONDITION:
            raise InputError(
                f"{self.name}: the directions {', '.join(self.axes)} say nearly the same (condition {condition:.0f}, "
                f"at most {LARGEST_CONDITION:.0f}); leave one of them out"
            )

    def scaled(self, strength: float) -> NoiseDraw:
        """The same draw at another strength."""
        return dataclasses.replace(self, strength=strength)

    def unit(self) -> torch.Tensor:
        """The directions as unit vectors, (directions, values), float64."""
        flat = torch.stack([one.double().flatten() for one in self.axes.values()])
        return flat / flat.norm(dim=1, keepdim=True)

    def gram(self) -> np.ndarray:
        """Their inner products."""
        unit = self.unit()
        return (unit @ unit.T).numpy()

    def check(self, host: Any) -> None:
        """Every pipeline starts from noise; its shape is known when it is drawn."""

    def begin(self, call: Call) -> NoiseDrawEffect | None:
        """The effect on one call; None where no coordinate has a law."""
        laws = tuple(self.laws(call))
        unknown = {name for one in laws for name in one} - set(self.axes)
        if unknown:
            raise InputError(f"{self.name} has no direction {min(unknown)!r}; it has {', '.join(self.axes)}")
        return NoiseDrawEffect(self, laws) if any(laws) else None


class NoiseDrawEffect:
    """One call."""

    def __init__(self, draw: NoiseDraw, laws: Sequence[Mapping[str, Law]]) -> None:
        self._draw, self._laws = draw, laws
        self._unit, self._gram = draw.unit(), draw.gram()
        self._records: list[dict[str, Any]] = [{} for _ in laws]
        self._nats: dict[tuple[Law, ...], float] = {}  # laws compare by identity

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """The noise with its coordinates moved; an image whose coordinates stay keeps its bits."""
        names = list(self._draw.axes)
        if noise[0].numel() != self._unit.shape[1]:
            shape = tuple(next(iter(self._draw.axes.values())).shape)
            raise ModelError(
                f"{self._draw.name}: its directions were fitted on latents of shape {shape}, here they have "
                f"{tuple(noise.shape[1:])}; use the image size that they were fitted at"
            )
        flat = noise.detach().double().cpu().flatten(1)
        drawn = (flat @ self._unit.T).numpy()
        by = np.zeros_like(drawn)
        for row, laws in enumerate(self._laws):
            for k, name in enumerate(names):
                law = laws.get(name, SAME)
                if law is not SAME:
                    by[row, k] = self._draw.strength * (float(law.map(drawn[row, k : k + 1])[0]) - drawn[row, k])
            self._records[row] = {
                "coordinates": {
                    name: [round(float(drawn[row, k]), 4), round(float(drawn[row, k] + by[row, k]), 4)]
                    for k, name in enumerate(names)
                },
                "nats": round(self._cost(tuple(laws.get(name, SAME) for name in names)), 4),
            }
        along = by if self._draw.additive else by @ np.linalg.inv(self._gram)
        moved = flat + torch.from_numpy(along) @ self._unit
        if self._draw.renorm == "chi":
            moved = moved * (flat.norm(dim=1, keepdim=True) / moved.norm(dim=1, keepdim=True))
        changed = torch.from_numpy((by != 0).any(axis=1)).view(-1, *[1] * (noise.ndim - 1)).to(noise.device)
        return torch.where(changed, moved.view(noise.shape).to(noise), noise)

    def _cost(self, laws: tuple[Law, ...]) -> float:
        if laws not in self._nats:
            self._nats[laws] = joint_kl(laws, self._gram)
        return self._nats[laws]

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Per image: each coordinate before and after, and what its law costs."""
        return self._records
