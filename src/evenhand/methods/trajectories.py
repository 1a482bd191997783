"""Mean activations of a model's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.host.sites import Step
from evenhand.interventions.activation_pin import pooled


class MeanActivation:
    """Keeps the mean output of a module at each step, over two halves of the images."""

    def __init__(self, module: str, *, spatial: bool) -> None:
        self.module, self._spatial = module, spatial
        self._sums: list[list[torch.Tensor]] = []  # step -> half
        self._times: list[float] = []
        self._images = [0, 0]

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        """The output as it is."""
        seen = output.float() if self._spatial else pooled(output)
        halves = [seen[0::2].sum(dim=0), seen[1::2].sum(dim=0)]
        if step.index == len(self._sums):
            self._sums.append(halves)
            self._times.append(step.timestep)
        else:
            self._sums[step.index] = [one + more for one, more in zip(self._sums[step.index], halves, strict=True)]
        if step.index == 0:
            self._images = [self._images[0] + len(seen[0::2]), self._images[1] + len(seen[1::2])]
        return output

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Nothing to tell."""
        return ()

    @property
    def timesteps(self) -> torch.Tensor:
        """The timestep of each step, (steps,)."""
        return torch.tensor(self._times)

    def by_step(self, half: int | None = None) -> torch.Tensor:
        """The mean at each step, (steps, ...); of every second image with `half` 0 or 1.

        Raises:
            RuntimeError: nothing was seen yet.
        """
        if not self._sums:
            raise RuntimeError("no output was seen yet")
        if half is not None:
            return (torch.stack([sums[half] for sums in self._sums]) / max(self._images[half], 1)).cpu()
        return (torch.stack([sums[0] + sums[1] for sums in self._sums]) / sum(self._images)).cpu()

    @property
    def mean(self) -> torch.Tensor:
        """The mean over all steps."""
        return self.by_step().mean(dim=0)
