"""The shares that a model's predictions imply, read without making an image.

Under a neutral prompt the best prediction of the noise in x_t is the mean of those under the prompts that name a class,
weighted by how likely each class is, given x_t. Over noised winners, which hold the target exactly, these weights have
the target as their mean if, and only if, the model's own shares are the target: the mean posterior of a mixture is its
prior. So the neutral prediction is written as a mean of the classes' predictions, by least squares over the winners of
a prompt at high noise, where classes are still open.

A look of n images knows a share to half of 1 / sqrt(n); this has no such error, and takes fewer rows than two images of
each prompt. It says nothing of what else an image shows, and is no audit.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.training.cache import PreferenceData, draw_seed
from evenhand.training.denoising import noised, predictions
from evenhand.training.lora import without_lora

LEVELS = (0.98, 0.88, 0.78)
"""Parts of the schedule at which noised winners are read."""
_BATCH = 32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Readable:
    """Winners that are read.

    Args:
        rows: (n,), their numbers among the images; of each prompt row as many of either class as the target wants.
        groups: prompt row of each.
        named: (n, classes), numbers of the prompts that name each class in the image's own wording.
    """

    rows: torch.Tensor
    groups: Sequence[str]
    named: torch.Tensor


class ImpliedShares:
    """Reads the same noised winners again and again; what the reference predicts of them is kept, in half precision.

    Args:
        data: the images.
        readable: those that are read.
        scheduler: of the pipeline.
        timesteps_per_unit: of the model's family.
    """

    def __init__(self, data: PreferenceData, readable: Readable, scheduler: Any, timesteps_per_unit: float) -> None:
        self._data, self._readable = data, readable
        self._scheduler, self._unit = scheduler, timesteps_per_unit
        self._last = int(scheduler.config.num_train_timesteps)
        self._known: dict[tuple[float, int], torch.Tensor] = {}

    def read(self, denoiser: Any) -> dict[str, list[float]]:
        """Prompt row -> share of each class, of the model as it is; least squares may leave [0, 1] a little.

        Args:
            denoiser: with its adapter, which is turned off for the reference.

        Cost: for each level a denoiser row per winner, and at the first time one more per class.
        """
        found: dict[str, list[torch.Tensor]] = {}
        for level in LEVELS:
            for group, shares in self._at(denoiser, level).items():
                found.setdefault(group, []).append(shares)
        return {group: torch.stack(some).mean(dim=0).tolist() for group, some in found.items()}

    def _at(self, denoiser: Any, level: float) -> Mapping[str, torch.Tensor]:
        products: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        count = self._readable.named.shape[1]
        for places in torch.arange(len(self._readable.rows)).split(_BATCH):
            neutral, classes = self._predicted(denoiser, places, level)
            for row, own, some in zip(places, neutral, classes, strict=True):
                apart = (some[:-1] - some[-1]).flatten(1)  # (classes - 1, d)
                left, right = apart @ apart.T, apart @ (own - some[-1]).flatten()
                group = self._readable.groups[int(row)]
                before = products.get(group, (torch.zeros(count - 1, count - 1), torch.zeros(count - 1)))
                products[group] = before[0] + left, before[1] + right
        found = {}
        for group, (left, right) in products.items():
            shares = torch.linalg.lstsq(left, right[:, None]).solution[:, 0]
            found[group] = torch.cat([shares, 1 - shares.sum(dim=0, keepdim=True)])
        return found

    def _predicted(self, denoiser: Any, places: torch.Tensor, level: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Of the model under the neutral prompt, (n, ...), and of the reference under each class, (n, classes, ...)."""
        data, rows = self._data, self._readable.rows[places]
        mark = LEVELS.index(level) + 2  # other draws than those of training
        noise = torch.stack([self._noise(int(row), mark) for row in rows])
        times = torch.full((len(rows),), float(int(level * self._last)))
        what = noised(self._scheduler, data.prediction, data.latents[rows].float(), noise, times)
        with torch.no_grad():
            own = predictions(denoiser, data.conditions, data.prompt[rows], what, self._unit).cpu()
            key = (level, int(places[0]))
            if key not in self._known:
                with without_lora(denoiser):
                    classes = [
                        predictions(denoiser, data.conditions, numbers, what, self._unit).cpu().half()
                        for numbers in self._readable.named[places].T
                    ]
                self._known[key] = torch.stack(classes, dim=1)
        return own, self._known[key].float()

    def _noise(self, row: int, mark: int) -> torch.Tensor:
        seed = draw_seed(self._data.seed, row, -mark)
        return torch.randn(self._data.latents.shape[1:], generator=torch.Generator("cpu").manual_seed(seed))
