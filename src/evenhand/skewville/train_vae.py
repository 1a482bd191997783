"""Training of the autoencoder: AutoencoderKL, factor 4, four latent channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch.nn import functional

from evenhand.host.dtype import autocast

from .pictures import render_all, to_tensor
from .progress import Progress
from .uniform import uniform

LEARNING_RATE = 2e-3
KL_WEIGHT = 1e-3


def new_vae() -> AutoencoderKL:
    """An untrained autoencoder of 1.5 M parameters for 64 x 64 pictures."""
    configuration = {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "block_out_channels": (16, 48, 96),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "sample_size": 64,
    }
    return AutoencoderKL(**configuration)


def posterior_of(vae: AutoencoderKL, images: torch.Tensor) -> DiagonalGaussianDistribution:
    """The distribution of the latents of images in [-1, 1]."""
    encoded: Any = vae.encode(images)
    return encoded.latent_dist


def decoded_from(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """The images of unscaled latents."""
    model: Any = vae  # annotated for a tensor class that no tensor has
    return model.decode(latents).sample


def reconstruction_loss(decoded: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """L1 plus half the L1 of the horizontal and vertical differences, which keeps thin lines."""
    loss = functional.l1_loss(decoded, images)
    for axis in (-1, -2):
        loss = loss + 0.5 * functional.l1_loss(decoded.diff(dim=axis), images.diff(dim=axis))
    return loss


def train_vae(out: Path, *, steps: int, batch: int = 32, seed: int = 0, pictures: int = 40_000) -> AutoencoderKL:
    """Train on renders with uniform attributes and save to `out`; sets `scaling_factor` to 1 / std of the latents."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    data = render_all([uniform(rng) for _ in range(pictures)], range(pictures))
    vae = new_vae()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps, pct_start=0.08)
    with Progress("autoencoder", steps, quantity="images", batch=batch) as progress:
        for _ in range(steps):
            images = to_tensor(data[rng.integers(0, pictures, batch)])
            with autocast(torch.device("cpu")):
                posterior = posterior_of(vae, images)
                decoded = decoded_from(vae, posterior.sample())
            loss = reconstruction_loss(decoded.float(), images) + KL_WEIGHT * posterior.kl().mean() / 1024
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            progress.advance(loss=loss.item())
    latents = encode(vae, data[:2000])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(out)
    return vae


@torch.no_grad()
def encode(vae: AutoencoderKL, data: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Posterior means, unscaled, float32, shape (n, 4, 16, 16)."""
    vae.eval()
    parts = []
    for start in range(0, len(data), batch):
        with autocast(torch.device("cpu")):
            parts.append(posterior_of(vae, to_tensor(data[start : start + batch])).mode().float())
    return torch.cat(parts)


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, data: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Pictures through the autoencoder, as images in [-1, 1]."""
    vae.eval()
    parts = []
    for start in range(0, len(data), batch):
        with autocast(torch.device("cpu")):
            latents = posterior_of(vae, to_tensor(data[start : start + batch])).mode()
            parts.append(decoded_from(vae, latents).float())
    return torch.cat(parts)
