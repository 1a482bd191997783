"""Runs of a model for fitting: a prompt, its seeds, and something that looks on."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from evenhand.host.host import Host
from evenhand.host.sites import Call, Effect, Site
from evenhand.host.undo import Undo


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runs:
    """How a model is run for fitting.

    Args:
        seeds: one image each; the same for every prompt, so that runs can be compared in pairs.
        steps: of the schedule.
        guidance: 1 computes no unconditional rows, which is half of the cost.
        batch: images per call.
    """

    seeds: tuple[int, ...]
    steps: int
    guidance: float = 1.0
    batch: int = 16


def run(host: Host, prompt: str, runs: Runs) -> torch.Tensor:
    """The final latents of a prompt, one row per seed, with whatever is attached to the host."""
    parts = []
    with Undo() as undo:
        undo.replace(host.pipe, "_progress_bar_config", {"disable": True})
        for start in range(0, len(runs.seeds), runs.batch):
            seeds = runs.seeds[start : start + runs.batch]
            (latents, *_) = host.call(
                [prompt] * len(seeds),
                num_inference_steps=runs.steps,
                guidance_scale=runs.guidance,
                generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
                output_type="latent",
                return_dict=False,
            )
            parts.append(latents)
    return torch.cat(parts)


@contextlib.contextmanager
def frozen(module: torch.nn.Module) -> Iterator[None]:
    """No parameter of the module takes a gradient, so only what depends on a fitted vector is differentiated."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


class Onlooker:
    """Attaches one effect for a while; for fitting only."""

    def __init__(self, site: Site, effect: Effect) -> None:
        self.name, self.strength = "fitting", 1.0
        self.site: Site = site
        self._effect = effect

    def check(self, host: Any) -> None:
        """Nothing to check."""

    def begin(self, call: Call) -> Effect:
        """The effect that it was made with."""
        return self._effect
