"""How many images fit in one batch, by arithmetic."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from evenhand.host.host import Host
from evenhand.records import Settings

# Copies of a feature map that live at once: skips, residuals, attention inputs, the decoder's convolutions.
_DENOISER_MAPS = 48
_DECODER_MAPS = 6
_MEMORY_SHARE = 0.25


def default_batch_size(host: Host, settings: Settings) -> int:
    """Images per batch: what saturates the device, as far as activations fit in a quarter of the free memory.

    On a CPU it is 48 for latents of 16 x 16, and fewer in proportion for larger ones.

    Args:
        host: the model.
        settings: their size counts.

    Returns:
        1, 2, 4, or a multiple of 8.
    """
    width, height = host.image_size(settings)
    pixels = max(1, (width // host.latent_scale) * (height // host.latent_scale))
    device = host.device
    saturating = host.family.cpu_latent_pixels if device.type == "cpu" else host.family.cuda_latent_pixels
    fitting = int(_MEMORY_SHARE * free_memory(device) / image_bytes(host, settings))
    return round_batch(min(saturating // pixels, fitting))


def image_bytes(host: Host, settings: Settings) -> int:
    """Estimated bytes of activations that one image needs, the larger of denoising (two rows) and decoding."""
    width, height = host.image_size(settings)
    config = getattr(host.denoiser, "config", {})
    channels = (config.get("block_out_channels") or (config.get("num_attention_heads", 16) * 64,))[0]
    bytes_each = next(host.denoiser.parameters()).element_size()
    latent_pixels = (width // host.latent_scale) * (height // host.latent_scale)
    denoising = 2 * _DENOISER_MAPS * latent_pixels * channels
    vae = host.pipe.components.get("vae")
    widths = getattr(vae, "config", {}).get("block_out_channels") or (128, 256)
    decoding = _DECODER_MAPS * width * height * widths[min(1, len(widths) - 1)]
    return max(1, bytes_each * max(denoising, decoding))


def round_batch(size: int) -> int:
    """The next batch size down that hardware likes: a multiple of 8, or 4, 2, 1; at least 1."""
    if size >= 8:
        return size - size % 8
    return next((small for small in (4, 2) if size >= small), 1)


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device; on a CPU within the limit of its container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _available()
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    try:
        return min(free, int(limit.read_text()) - int(used.read_text()))
    except (OSError, ValueError):  # no container, or "max": no limit
        return free


def _available() -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux: assume that half of the memory is free
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
