"""Mean activations of a model's runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.host.sites import Step
from evenhand.interventions.activation_pin import pooled

_LARGEST = torch.finfo(torch.float16).max


class MeanActivation:
    """Keeps the mean output of a module at each step, over two halves of the images.

    Args:
        module: path inside the denoiser.
        spatial: whether places are kept apart.
        each: also keeps every image's own output, in half precision, so that the images can be weighed afterwards.
    """

    def __init__(self, module: str, *, spatial: bool, each: bool = False) -> None:
        self.module, self._spatial = module, spatial
        self._each: list[list[torch.Tensor]] | None = [] if each else None  # step -> batches
        self._sums: list[list[torch.Tensor]] = []  # step -> half
        self._times: list[float] = []
        self._images = [0.0, 0.0]

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        """The output as it is."""
        seen = output.float() if self._spatial else pooled(output)
        halves = [seen[0::2].sum(dim=0), seen[1::2].sum(dim=0)]
        if step.index == len(self._sums):
            self._sums.append(halves)
            self._times.append(step.timestep)
        else:
            self._sums[step.index] = [one + more for one, more in zip(self._sums[step.index], halves, strict=True)]
        if self._each is not None:
            if step.index == len(self._each):
                self._each.append([])
            self._each[step.index].append(seen.clamp(-_LARGEST, _LARGEST).half().cpu())
        if step.index == 0:
            self._images = [self._images[0] + len(seen[0::2]), self._images[1] + len(seen[1::2])]
        return output

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Nothing to tell."""
        return ()

    @property
    def weighable(self) -> bool:
        """Whether the images' own outputs are there."""
        return self._each is not None

    def deviations(self) -> torch.Tensor:
        """What each image gives less the mean of all, over the steps, (images, ...).

        Raises:
            RuntimeError: the images' own outputs were not kept, or were weighed already.
        """
        if self._each is None:
            raise RuntimeError("the outputs of single images are not there; make it with each=True, and weigh later")
        total = torch.stack([torch.cat(batches).float() for batches in self._each]).mean(dim=0)
        return total - total.mean(dim=0)

    def weigh(self, weights: torch.Tensor) -> None:
        """From now on the means are weighted ones; the images' own outputs are dropped.

        Args:
            weights: one for each image, in the order in which they were seen, not negative; each half needs some.

        Raises:
            RuntimeError: the images' own outputs were not kept.
        """
        if self._each is None:
            raise RuntimeError("the outputs of single images were not kept; make it with each=True")
        each, self._each = self._each, None
        if bool((weights == weights[0]).all()):
            return  # the sums are those means already, and in full precision
        sizes = [len(batch) for batch in each[0]]
        # halves are counted within each batch
        second = torch.cat([torch.arange(size) % 2 for size in sizes]).bool()
        scaled = weights.float() * sum(sizes) / weights.sum()
        shares = [scaled * ~second, scaled * second]
        self._sums = [
            [torch.tensordot(share, torch.cat(batches).float(), dims=1) for share in shares] for batches in each
        ]
        self._images = [float(share.sum()) for share in shares]

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
            return (torch.stack([sums[half] for sums in self._sums]) / (self._images[half] or 1)).cpu()
        return (torch.stack([sums[0] + sums[1] for sums in self._sums]) / sum(self._images)).cpu()

    @property
    def mean(self) -> torch.Tensor:
        """The mean over all steps."""
        return self.by_step().mean(dim=0)
