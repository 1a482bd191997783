"""The fit judge's network: a small convolutional classifier with one head per attribute."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import nn


class ConvNet(nn.Module):
    """Four strided convolutions, then one linear layer per head.

    Args:
        heads: head name to number of classes.
        width: channels of the first stage; the others follow.
    """

    def __init__(self, heads: Mapping[str, int], width: int = 24) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 6 * width]
        stages: list[nn.Module] = []
        for before, after in itertools.pairwise(channels):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
            stages += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(4, after), nn.SiLU()]
        self.features = nn.Sequential(*stages, nn.Flatten(), nn.Linear(channels[-1] * 16, 192), nn.SiLU())
        self.heads = nn.ModuleDict({name: nn.Linear(192, count) for name, count in heads.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Images in [-1, 1], shape (n, 3, 64, 64), to logits per head."""
        features = self.features(images)
        return {name: head(features) for name, head in self.heads.items()}
