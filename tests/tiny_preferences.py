"""Cached preferences of a tiny model that took no sampling."""

from __future__ import annotations

from collections.abc import Callable

import torch

from evenhand.host.families import prediction_type
from evenhand.host.host import Host
from evenhand.host.runs import Runs, run
from evenhand.training.cache import PreferenceData, draw_timesteps, pair_numbers, with_reference
from evenhand.training.denoising import Conditions, encode_prompts

Make = Callable[..., tuple[Host, PreferenceData]]
"""Of the fixture `make`: family name -> a host of its tiny pipeline, and preferences on it."""


def preferences(host: Host, *, populations: int = 4, side: int = 2, draws: int = 2, seed: int = 0) -> PreferenceData:
    """Random latents: winners lie a step away from losers, so that there is something to prefer."""
    prompts = ("a nurse", "a baker")
    conditions = encode_prompts(host, prompts)
    rng = torch.Generator().manual_seed(seed)
    shape = _latent_shape(host)
    images = 2 * side * populations
    winner = torch.tensor(([True] * side + [False] * side) * populations)
    latents = torch.randn(images, *shape, generator=rng) + torch.where(winner, 1.0, -1.0).view(-1, *[1] * len(shape))
    population = torch.arange(populations).repeat_interleave(2 * side)
    data = PreferenceData(
        latents=latents,
        winner=winner,
        population=population,
        prompt=population % 2,
        pair=pair_numbers(population, winner),
        own=torch.where(winner, 1 - population % 2, population % 2),
        timesteps=draw_timesteps(populations * side, draws, seed),
        reference=torch.zeros(images, draws),
        taught=torch.zeros(0),
        weight=torch.ones(images),
        conditions=conditions,
        seed=seed,
        prediction=prediction_type(host.pipe),
    )
    return with_reference(data, host.denoiser, host.pipe.scheduler, host.family.timesteps_per_unit)


def of_winners(
    latents: torch.Tensor, prompt: list[int], own: list[int], timesteps: torch.Tensor, conditions: Conditions
) -> PreferenceData:
    """Winners alone, each a population of its own, of a model that needs no pipeline.

    Args:
        latents: (images, ...).
        prompt: number of the neutral prompt of each.
        own: number of the prompt that made each.
        timesteps: (images, draws).
        conditions: of the prompts.
    """
    numbers = torch.arange(len(latents))
    return PreferenceData(
        latents=latents,
        winner=torch.ones(len(latents), dtype=torch.bool),
        population=numbers,
        pair=numbers,
        prompt=torch.tensor(prompt),
        own=torch.tensor(own),
        timesteps=timesteps,
        reference=torch.zeros(len(latents), timesteps.shape[1]),
        taught=torch.zeros(0),
        weight=torch.ones(len(latents)),
        conditions=conditions,
        seed=0,
        prediction="epsilon",
    )


def _latent_shape(host: Host) -> tuple[int, ...]:
    return tuple(run(host, "a", Runs(seeds=(0,), steps=1, batch=1)).shape[1:])
