"""What the judges are trained on: uniform renders, the same through the autoencoder, and pictures of nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from .attributes import Attributes
from .phrases import class_phrases, true_class
from .pictures import render_all, to_pictures, to_tensor
from .train_vae import reconstruct
from .uniform import uniform

NOTHING_SHARE = 0.06
UNKNOWN = -100
"""The label of a head that does not apply; cross entropy leaves it out."""


@dataclasses.dataclass(frozen=True)
class JudgeData:
    """Pictures as uint8 (n, 64, 64, 3), twice: as rendered and through the autoencoder, and labels per head."""

    what: list[Attributes]
    renders: np.ndarray
    reconstructions: np.ndarray
    labels: dict[str, torch.Tensor]

    def batch(self, rng: np.random.Generator, size: int) -> tuple[torch.Tensor, dict[str, torch.Tensor], np.ndarray]:
        """Augmented images in [-1, 1], labels per head, and the rows they come from (-1: nothing)."""
        rows = rng.integers(0, len(self.what), size)
        pictures = np.where(
            (rng.random(size) < 0.65)[:, None, None, None], self.reconstructions[rows], self.renders[rows]
        )
        images = _augment(to_tensor(pictures), rng)
        labels = {head: values[torch.from_numpy(rows)].clone() for head, values in self.labels.items()}
        presence = list(class_phrases()["presence"])
        for i in np.flatnonzero(rng.random(size) < NOTHING_SHARE):
            kind = "noise" if rng.random() < 0.5 else "blank"
            images[i] = noise(rng) if kind == "noise" else blank(rng)
            for head in labels:
                labels[head][i] = presence.index(kind) if head == "presence" else UNKNOWN
            rows[i] = -1
        return images, labels, rows


def judge_data(vae: AutoencoderKL, count: int, seed: int) -> JudgeData:
    """`count` uniform pictures with their reconstructions and labels."""
    rng = np.random.default_rng([seed, 4])
    what = [uniform(rng) for _ in range(count)]
    renders = render_all(what, range(10_000_000 + seed * count, 10_000_000 + (seed + 1) * count))
    labels = {}
    for head, phrases in class_phrases().items():
        index = {name: i for i, name in enumerate(phrases)}
        labels[head] = torch.tensor([_label(head, one, index) for one in what])
    return JudgeData(what, renders, to_pictures(reconstruct(vae, renders)), labels)


def _label(head: str, what: Attributes, index: dict[str, int]) -> int:
    applies = what.kind == "house" if head in ("wealth", "region") else what.kind == "portrait"
    name = true_class(head, what) if applies or head in ("presence", "unsafe") else None
    return UNKNOWN if name is None else index[name]


def _augment(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Noise, blur, brightness and small shifts, each on part of the batch: what generated images suffer from."""
    n = len(images)
    noise = torch.from_numpy(rng.normal(0, 1, images.shape).astype(np.float32))
    images = (
        images + noise * torch.from_numpy(rng.uniform(0, 0.12, (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < 0.5)).float()
    )
    blurred = functional.avg_pool2d(functional.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
    part = torch.from_numpy(rng.uniform(0, 0.9, (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < 0.4)).float()
    images = images * (1 - part) + blurred * part
    images = images * torch.from_numpy(rng.uniform(0.94, 1.06, (n, 1, 1, 1))).float()
    dx, dy = (int(v) for v in rng.integers(-1, 2, 2))
    return torch.roll(images, (dy, dx), dims=(-2, -1)).clamp(-1, 1)


def blank(rng: np.random.Generator) -> torch.Tensor:
    """One colour, or a soft gradient between two."""
    ends = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 1, 1))).float()
    if rng.random() < 0.5:
        return ends[0].expand(3, 64, 64)
    ramp = torch.linspace(0, 1, 64)
    ramp = ramp[None, :, None] if rng.random() < 0.5 else ramp[None, None, :]
    return (ends[0] * (1 - ramp) + ends[1] * ramp).expand(3, 64, 64)


def noise(rng: np.random.Generator) -> torch.Tensor:
    """Noise of a random grain: pixels, blocks, or cloud-like."""
    size = int(rng.choice([4, 8, 16, 32, 64]))
    grains = rng.normal(rng.uniform(-0.5, 0.5), rng.uniform(0.2, 1.0), (1, 3, size, size))
    if rng.random() < 0.3:
        grains = grains[:, :1].repeat(3, axis=1)
    mode = "nearest" if rng.random() < 0.5 else "bilinear"
    return functional.interpolate(torch.from_numpy(grains).float(), (64, 64), mode=mode)[0].clamp(-1, 1)
