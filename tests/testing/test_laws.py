"""Every intervention obeys the laws, and the laws catch those that do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from evenhand.host.sites import Attachable
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.interventions.assignment import Assignment
from evenhand.interventions.guidance_term import Schedule
from evenhand.interventions.policy import Category, SafetyPolicy
from evenhand.methods.negative_prompt import negative_prompt
from evenhand.methods.prompt_mix import prompt_mix
from evenhand.methods.safe_guidance import safe_guidance
from evenhand.methods.sega import sega
from evenhand.testing.laws import check_intervention
from evenhand.testing.toy import ToyWorld

WORLD = ToyWorld(
    prompts={
        **ToyWorld().prompts,
        "a nurse, woman": (0.99, 0.01),
        "a nurse, man": (0.01, 0.99),
        "a male person": (0.01, 0.99),
    }
)


def policy() -> SafetyPolicy:
    return SafetyPolicy(name="mine", categories=(Category(text="a female person", threshold=1.0),))


def vectors() -> ActivationShift:
    bank = VectorBank(module="mid_block", vectors={"up": torch.tensor([0.0, math.log(4)])})
    return ActivationShift(name="concept-vector", bank=bank, weights=lambda call: [{"up": 1.0}] * call.images)


INTERVENTIONS: dict[str, Callable[[], Attachable]] = {
    "safe-guidance": lambda: safe_guidance(policy()),
    "safe-guidance, held": lambda: safe_guidance(policy(), schedule=Schedule(refresh=2, gather=False)),
    "safe-guidance, joined": lambda: safe_guidance(policy(), schedule=Schedule(joined=True)),
    "sega": lambda: sega("a female person"),
    "negative-prompt": lambda: negative_prompt("a female person"),
    "prompt-mix": lambda: prompt_mix(
        Assignment(target={"female": 0.5, "male": 0.5}), {"female": "woman", "male": "man"}
    ),
    "concept-vector": vectors,
}


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_the_laws_hold(name: str) -> None:
    check_intervention(INTERVENTIONS[name], world=WORLD)


class Leaving:
    """An intervention that breaks one law or another."""

    def __init__(self, fault: str, strength: float = 1.0) -> None:
        self.name, self.site, self.strength, self.fault = "faulty", "latent", strength, fault
        self.images = 0

    def scaled(self, strength: float) -> Leaving:
        return Leaving(self.fault, 1.0 if self.fault == "strength" else strength)

    def check(self, host: Any) -> None:
        if self.fault == "leaves":
            host.denoiser.mid_block.forward = lambda shares: shares * 1.0

    def begin(self, call: Any) -> Leaving:
        self.images = call.images
        return self

    def update(self, step: Any, latents: torch.Tensor) -> torch.Tensor:
        if self.fault == "nothing":
            return latents
        if self.fault == "random":
            return latents + 0.1 * torch.rand(())
        if self.fault == "neighbours":
            return latents + 0.1 * latents.sum()
        return latents + 0.1

    def evidence(self) -> list[dict[str, Any]]:
        return [] if self.fault == "silent" else [{}] * self.images


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("nothing", "strength_one_does_something"),
        ("strength", "strength_zero_is_bit_identical"),
        ("leaves", "detaching_restores_everything"),
        ("random", "the_same_seed_gives_the_same_image"),
        ("neighbours", "an_image_does_not_depend_on_its_neighbours"),
        ("silent", "it_says_what_it_did"),
    ],
)
def test_a_broken_law_is_named(fault: str, law: str) -> None:
    made: Any = lambda: Leaving(fault)  # noqa: E731
    with pytest.raises(AssertionError, match=law):
        check_intervention(made)


def test_a_sound_intervention_of_somebody_else_passes() -> None:
    made: Any = lambda: Leaving("none")  # noqa: E731
    check_intervention(made)
