"""Renders as arrays, and arrays as the tensors that the models take."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from .attributes import Attributes
from .render import render


def render_all(what: Sequence[Attributes], seeds: Iterable[int]) -> np.ndarray:
    """The pictures of `what` as uint8, shape (n, 64, 64, 3); `seeds` may be endless."""
    return np.stack([np.asarray(render(one, seed)) for one, seed in zip(what, seeds, strict=False)])


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """uint8 (n, 64, 64, 3) to float32 (n, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(images: torch.Tensor) -> np.ndarray:
    """Images in [-1, 1] back to uint8 (n, 64, 64, 3)."""
    scaled = (images.float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
