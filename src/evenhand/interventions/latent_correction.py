"""The latents between steps: moved along the gradient of a score that says what the finished image will show.

    x    = z / rms(z)                           the frame in which every scheduler's latents look alike
    l    = log-odds of the class at (x, t)      by a small network on latents; nothing goes through the denoiser
    g    = grad_z l, less its radial part (g.z) z / |z|^2; with a mask, both within the mask
    z'   = z + min(c rms(z), max(0, s m - l) / |g|) g / |g|, and back to the norm of z

An image is moved just as far as brings its log-odds to a margin m, times its calibrated strength s, and by no more than
c standard deviations of one coordinate in a step, however many coordinates there are; one that is beyond the margin
keeps its latents. Every image has a class of its own, and none depends on the others of its batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

from evenhand.errors import InputError
from evenhand.host.sites import Call, Site, Step
from evenhand.interventions.window import Window

LARGEST = 1.0
"""Standard deviations along one direction that an image is moved by in a step at most."""
MARGIN = 4.0
"""Log-odds that are wanted at strength 1. The score does not know the prompt, so what it takes to be sure is not enough
where a prompt leans the other way; strengths are calibrated for each."""
EARLY = Window(start=0.1, stop=0.8)


class Score(Protocol):
    """Reads classes from latents at any noise level."""

    @property
    def classes(self) -> tuple[str, ...]:
        """What it can tell apart."""
        ...

    def log_chances(self, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        """Logarithms of class probabilities, (rows, classes), for latents of unit root mean square.

        Args:
            latents: (rows, ...).
            timestep: of these latents, 0 to 1,000.
        """
        ...


WantedOf = Callable[[Call], Sequence[tuple[str, float] | None]]
"""For each image of a call the class that it is to show and a strength; None leaves it alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentCorrection:
    """An intervention on the latents at the end of steps.

    Args:
        name: how reports call it.
        score: what the gradient is of.
        wanted: for each image of a call its class and strength.
        window: when it acts.
        mask: (height, width) of the latents, 0 to 1: where they may move; None means everywhere. With several people in
            a picture it chooses one of them. Where it is 0 the latents keep their bits.
        strength: factor on all strengths; 1 as calibrated, 0 is off.
    """

    name: str
    score: Score
    wanted: WantedOf
    window: Window = EARLY
    mask: torch.Tensor | None = None
    strength: float = 1.0
    site: Site = "latent"

    def scaled(self, strength: float) -> LatentCorrection:
        """The same correction at another strength."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Every pipeline has latents; their shape is known at the first step."""

    def begin(self, call: Call) -> CorrectionEffect | None:
        """The effect on one call; None where nothing is wanted.

        Raises:
            InputError: a class that the score does not know.
        """
        wanted = tuple(self.wanted(call))
        for one in wanted:
            if one is not None and one[0] not in self.score.classes:
                raise InputError(f"{self.name} has no class {one[0]!r}; it has {', '.join(self.score.classes)}")
        return CorrectionEffect(self, wanted) if any(one is not None for one in wanted) else None


class CorrectionEffect:
    """One call."""

    def __init__(self, correction: LatentCorrection, wanted: Sequence[tuple[str, float] | None]) -> None:
        self._correction, self._wanted = correction, wanted
        self._moved, self._steps = [0.0] * len(wanted), 0

    def update(self, step: Step, latents: torch.Tensor) -> torch.Tensor:
        """The latents, moved in the rows that want something; the others keep their bits."""
        if step.index not in self._correction.window.steps(step.total):
            return latents
        rows = [row for row, one in enumerate(self._wanted) if one is not None]
        names, strengths = zip(*(one for one in self._wanted if one is not None), strict=True)
        here = latents.detach()[rows].float()
        direction, slope, odds = self._direction(step, here, names)
        largest = LARGEST * here.square().flatten(1).mean(dim=1).sqrt()
        strength = self._correction.strength * torch.tensor(strengths, device=here.device)
        missing = (MARGIN * strength - odds).clamp(min=0) / slope.clamp(min=1e-12)
        by = torch.minimum(missing, largest).view(-1, *[1] * (here.ndim - 1)) * direction
        moved = self._of_norm(here + by, here)
        for row, norm in zip(rows, by.flatten(1).norm(dim=1).tolist(), strict=True):
            self._moved[row] += norm
        self._steps += 1
        changed = latents.clone()
        changed[rows] = moved.to(latents.dtype)
        return changed

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Per image: what was wanted, how far it was moved in all, and over how many steps."""
        return [
            {
                "wanted": None if one is None else one[0],
                "moved": round(moved, 4),
                "active_steps": self._steps if one is not None else 0,
            }
            for one, moved in zip(self._wanted, self._moved, strict=True)
        ]

    def _direction(
        self, step: Step, here: torch.Tensor, names: Sequence[str]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The unit gradient of each row without its radial part, its slope, and the log-odds of the row's class."""
        classes = self._correction.score.classes
        place = torch.tensor([[classes.index(name)] for name in names], device=here.device)
        with torch.enable_grad():
            leaf = here.clone().requires_grad_(True)
            size = leaf.detach().square().flatten(1).mean(dim=1).sqrt().clamp(min=1e-12)
            logs = self._correction.score.log_chances(leaf / size.view(-1, *[1] * (leaf.ndim - 1)), step.after)
            others = logs.scatter(1, place, float("-inf")).logsumexp(dim=1)
            odds = logs.gather(1, place)[:, 0] - others
            (gradient,) = torch.autograd.grad(odds.sum(), leaf)
        gradient, inside = self._masked(gradient), self._masked(here)
        radial = (gradient * inside).flatten(1).sum(dim=1) / inside.flatten(1).square().sum(dim=1).clamp(min=1e-12)
        gradient = gradient - radial.view(-1, *[1] * (here.ndim - 1)) * inside
        slope = _norm(gradient)
        return gradient / slope.clamp(min=1e-12), slope.flatten(), odds.detach()

    def _of_norm(self, moved: torch.Tensor, here: torch.Tensor) -> torch.Tensor:
        """Moved latents with the norm that they had, given back where they may move."""
        mask = self._correction.mask
        factor = _norm(self._masked(here)) / _norm(self._masked(moved)).clamp(min=1e-12)
        return moved * factor if mask is None else moved * (1 + (factor - 1) * mask.to(moved))

    def _masked(self, latents: torch.Tensor) -> torch.Tensor:
        mask = self._correction.mask
        return latents if mask is None else latents * mask.to(latents)


def _norm(latents: torch.Tensor) -> torch.Tensor:
    return latents.flatten(1).norm(dim=1).view(-1, *[1] * (latents.ndim - 1))
