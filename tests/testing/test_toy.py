"""The toy's truth: shares that are known before anything is sampled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from evenhand.errors import InputError
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.testing.toy import ToyWorld, shares_of, toy_host

MANY = 4000


def latents(call: Any, prompt: str, seed: int = 0, images: int = MANY, **more: Any) -> torch.Tensor:
    generator = torch.Generator("cpu").manual_seed(seed)
    return call(prompt, num_images_per_prompt=images, generator=generator, **more).images


@pytest.mark.parametrize("prompt", ["a nurse", "a mechanic", ""])
def test_the_declared_shares_come_back(prompt: str) -> None:
    world = ToyWorld()
    with toy_host(world) as host:
        found = shares_of(latents(host.pipe, prompt), world)
    # the standard error is at most sqrt(.25 / 4000) = .008
    np.testing.assert_allclose(found, world.prompts[prompt], atol=0.03)


def test_every_sample_is_one_of_the_pictures() -> None:
    world = ToyWorld()
    with toy_host(world) as host:
        found = latents(host.pipe, "a nurse", images=200)
    likeness = found.flatten(1) @ world.pictures().flatten(1).T / (world.pictures()[0].numel())
    assert ((likeness - 1).abs() < 0.05).sum() >= 195


@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
def test_a_vector_at_the_middle_block_moves_the_shares_by_the_closed_form(strength: float) -> None:
    world, vector = ToyWorld(), (0.0, math.log(4))
    bank = VectorBank(module="mid_block", vectors={"up": torch.tensor(vector)})
    shift = ActivationShift(name="mine", bank=bank, weights=lambda call: [{"up": 1.0}] * call.images)
    with toy_host(world) as host, host.attached(shift.scaled(strength)) as call:
        found = shares_of(latents(call, "a nurse"), world)
    # at strength 1: (.8, .2 x 4) / 1.6 = one half each
    expected = world.shifted("a nurse", [strength * c for c in vector])
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_guidance_sharpens_the_shares() -> None:
    world = ToyWorld()
    with toy_host(world) as host:
        plain, guided = (
            shares_of(latents(host.pipe, "a nurse", guidance_scale=scale), world)[0] for scale in (1.0, 3.0)
        )
    assert guided > plain + 0.05


def test_an_unknown_prompt_is_said() -> None:
    with toy_host() as host, pytest.raises(InputError, match="does not know 'a cat'"):
        host.pipe("a cat")
