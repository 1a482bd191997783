"""Semantic guidance: its equations, and the place of its term beside guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from evenhand.host.host import Host
from evenhand.interventions.guidance_term import Branches
from evenhand.interventions.policy import Category
from evenhand.methods.sega import SemanticFormula, sega


def test_the_equations_restated() -> None:
    rng = torch.Generator().manual_seed(0)
    anchor, prompt, concept = (torch.randn(2, 3, 4, 5, generator=rng) for _ in range(3))
    said, memory = Branches(anchor=anchor, prompt=prompt, concept=concept), {}
    category = Category(
        text="blood", scale=4.0, threshold=0.75, threshold_kind="quantile", momentum_scale=0.3, momentum_beta=0.4
    )
    momentum = torch.zeros(2, 3, 4, 5)
    for _ in range(3):
        g = 4.0 * (concept - anchor)
        for image in range(2):
            for channel in range(3):
                largest = g[image, channel].abs().flatten().sort().values
                # the .75 quantile of 20 values lies at position .75 x 19 = 14.25, so the 5 largest stay
                g[image, channel][g[image, channel].abs() < largest[15]] = 0
        gamma = g + 0.3 * momentum
        momentum = 0.4 * momentum + 0.6 * gamma
        found = SemanticFormula().term(category, said, memory, 7.0)
        assert torch.allclose(7.0 * found.value, gamma, atol=1e-6)
        assert (found.switch > 0).flatten(2).sum(dim=2).tolist() == [[5, 5, 5]] * 2


def test_packed_latents_keep_the_largest_of_each_channel_too() -> None:
    # two rows of 40 tokens and 3 channels, the second channel a thousand times as large as the others
    draw = torch.Generator().manual_seed(4)
    concept = torch.randn(2, 40, 3, generator=draw) * torch.tensor([1.0, 1000.0, 1.0])
    said = Branches(anchor=torch.zeros(2, 40, 3), prompt=torch.zeros(2, 40, 3), concept=concept, others={})
    category = Category(text="x", scale=1.0, threshold=0.9, threshold_kind="quantile", momentum_scale=0.0)
    kept = SemanticFormula().term(category, said, {}, 1.0).switch > 0
    # a tenth of the 40 tokens in every channel, those that are largest there
    assert kept.sum(dim=1).tolist() == [[4, 4, 4]] * 2
    largest = concept.abs().topk(4, dim=1).indices
    assert kept.gather(1, largest).all()


def test_its_effect_does_not_grow_with_the_guidance_scale(host: Callable[[str], Host]) -> None:
    wrapped = host("sd1")

    def moved(guidance: float) -> torch.Tensor:
        arguments: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": guidance, "output_type": "latent"}
        generators = [[torch.Generator("cpu").manual_seed(3)] for _ in range(2)]
        plain = wrapped.pipe("a cat", generator=generators[0], return_dict=False, **arguments)[0]
        with wrapped.attached(sega("blood", warm_up=0, momentum_scale=0.0, momentum_beta=0.0)) as call:
            return call("a cat", generator=generators[1], return_dict=False, **arguments)[0] - plain

    # one step from the same noise: the branches are the same, and so is what is added
    assert torch.allclose(moved(2.0), moved(8.0), atol=1e-4)
    assert moved(2.0).abs().max() > 1e-3
