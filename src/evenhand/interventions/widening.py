"""Widening: an image that is pinned is moved away from the mean of another attribute, as far as it is from it.

What is drawn late over a picture (glasses), or filled in where something was, has the look of the mean picture: very
light and very dark faces come out a little nearer the middle. No constant vector takes that back, since it comes from
either side. So the image's own coordinate along the other attribute is read, and its distance from where the mean lies
at that timestep grows by a part:

    h <- h + g B^T ((B B^T)^-1 B h - m(t))

with the attribute's axes B, the mean coordinates m(t), and the gain g.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from evenhand.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widening:
    """How one attribute is widened at a module, in images that are moved to one class of another.

    Args:
        axes: (axes, channels[, height, width]), linearly independent.
        timesteps: (moments,), falling; the schedule's, of 0 to 1,000.
        centres: (moments, axes), coordinates of the mean activation.
        gain: part by which distances grow, for a move by one length of the other attribute's axes; 0 is off.

    Raises:
        InputError: shapes that do not belong together.
    """

    axes: torch.Tensor
    timesteps: torch.Tensor
    centres: torch.Tensor
    gain: float

    def __post_init__(self) -> None:
        wanted = (len(self.timesteps), len(self.axes))
        if tuple(self.centres.shape) != wanted:
            raise InputError(f"a widening has centres of {tuple(self.centres.shape)}; expected {wanted}")

    @classmethod
    def stored(cls, tensors: Mapping[str, torch.Tensor], timesteps: torch.Tensor) -> Widening:
        """From what `tensors` gave."""
        gain = float(tensors["gain"])
        return cls(axes=tensors["axes"], timesteps=timesteps, centres=tensors["centres"], gain=gain)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """What is stored; the timesteps are those of the landmarks."""
        return {"axes": self.axes, "centres": self.centres, "gain": torch.tensor(self.gain)}

    def along(self, seen: torch.Tensor, timestep: float) -> torch.Tensor:
        """What is added to an image for a move by one length, (values,): away from the mean, along the axes.

        Args:
            seen: the image's activation, (values,).
            timestep: of the schedule.
        """
        flat = self.axes.flatten(1).to(seen)
        coordinates = torch.linalg.solve(flat @ flat.T, flat @ seen)
        away = coordinates - at_timestep(self.timesteps, self.centres, timestep).to(seen)
        return self.gain * (away @ flat)


def at_timestep(timesteps: torch.Tensor, values: torch.Tensor, timestep: float) -> torch.Tensor:
    """Values (moments, ...) at timesteps (moments,) that fall, interpolated between the moments; no farther out."""
    after = int((timesteps > timestep).sum())  # so many moments lie before this one
    if after in (0, len(timesteps)):
        return values[min(after, len(timesteps) - 1)]
    span = float(timesteps[after - 1] - timesteps[after])
    return torch.lerp(values[after - 1], values[after], float(timesteps[after - 1] - timestep) / span)
