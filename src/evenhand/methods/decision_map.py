"""Where in the denoiser, and at which step, it is decided what an image will show.

The activations of neutral runs are kept at every site and step, and what the finished images show is predicted from
them by ridge regression, leave-one-out. A site from which it can be read early is where an intervention finds a handle;
a step after which nothing more is gained is too late for one. Compare Kwon et al. (ICLR 2023, arXiv:2210.10960), who
chose the middle block of the U-Net and the interval of steps by looking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.host.runs import Onlooker
from evenhand.host.sites import Step
from evenhand.interventions.activation_pin import pooled
from evenhand.methods.vector_trials import Trials

_PLACES = 4
"""A side of the grid over which places are averaged."""
_RIDGES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Relative to the mean strength of an image's features."""


class Recorder:
    """Keeps a module's output for every image and step, averaged over a grid of places."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.steps: list[list[torch.Tensor]] = []
        self.timesteps: list[float] = []

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        """The output as it is."""
        if step.index == len(self.steps):
            self.steps.append([])
            self.timesteps.append(step.timestep)
        seen = output.float()
        if seen.ndim == 4:
            height, width = (min(_PLACES, side) for side in seen.shape[2:])
            seen = torch.nn.functional.adaptive_avg_pool2d(seen, (height, width)).flatten(1)
        else:
            seen = pooled(output)
        self.steps[step.index].append(seen)
        return output

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Nothing to tell."""
        return ()


def decision_map(trials: Trials, sites: Mapping[str, Sequence[str]], images: int) -> dict[str, Any]:
    """Site -> step -> the share of what images of one prompt differ in that can be read there.

    Args:
        trials: prompts, seeds, and who reads the finished images.
        sites: name -> modules.
        images: per prompt row, over eight rows.

    Returns:
        `sites` as described, 0 to 1; the `timesteps`; `images`, without those where the judge abstained; and `shown`,
        the share of each label.

    Cost: that of the images.
    """
    requests = trials.requests(images, trials.spread(8))
    recorders = {module: Recorder(module) for some in sites.values() for module in some}
    labels = trials.labels([Onlooker("activation", one) for one in recorders.values()], requests)
    kept = [row for row, label in enumerate(labels) if label is not None]
    names = sorted({label for label in labels if label is not None})
    wanted = torch.zeros(len(kept), len(names))
    for place, row in enumerate(kept):
        wanted[place, names.index(str(labels[row]))] = 1
    groups = torch.tensor([sorted({one.row for one in requests}).index(requests[row].row) for row in kept])
    first = next(iter(recorders.values()))
    scores = {
        site: [
            # the last batch of a long run is padded
            explained(
                torch.cat([torch.cat(recorders[one].steps[step])[: len(requests)][kept] for one in modules], dim=1),
                wanted,
                groups,
            )
            for step in range(len(first.steps))
        ]
        for site, modules in sites.items()
    }
    shown = {name: round(float(share), 4) for name, share in zip(names, wanted.mean(dim=0), strict=True)}
    return {"sites": scores, "timesteps": first.timesteps, "images": len(kept), "shown": shown}


def explained(features: torch.Tensor, wanted: torch.Tensor, groups: torch.Tensor) -> float:
    """The share of the variance of `wanted` within groups that features predict, leave-one-out; 0 to 1.

    The best of a few ridge penalties counts, against the mean of the group's other images. With the hat matrix H of the
    penalised part the leave-one-out error is r_i / (1 - H_ii - 1 / n_g): a group's mean knows every image in it too.

    Args:
        features: (images, values).
        wanted: (images, labels).
        groups: (images,), numbers of the groups.
    """
    x, y = _within(features.double(), groups), _within(wanted.double(), groups)
    own = 1 / torch.bincount(groups).double()[groups]
    free = (1 - own).clamp(min=1e-6)
    total = float((y / free.unsqueeze(1)).square().sum())
    kernel = x @ x.T
    scale = float(torch.diagonal(kernel).mean())
    if total <= 1e-9 or scale <= 0:
        return 0.0  # every image of a prompt shows the same, or holds the same
    best = 0.0
    for ridge in _RIDGES:
        hat = torch.linalg.solve(kernel + ridge * scale * torch.eye(len(x), dtype=x.dtype), kernel)
        left_out = (y - hat @ y) / (free - torch.diagonal(hat)).clamp(min=1e-6).unsqueeze(1)
        best = max(best, 1 - float(left_out.square().sum()) / total)
    return round(best, 4)


def _within(values: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Values less the mean of their group."""
    found = values.clone()
    for group in groups.unique():
        found[groups == group] -= values[groups == group].mean(dim=0)
    return found
