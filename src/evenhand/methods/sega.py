"""Semantic guidance away from a concept: the closest relative of safe latent diffusion, here for comparison.

Brack et al.: SEGA, Instructing Text-to-Image Models using Semantic Guidance (NeurIPS 2023, arXiv:2301.12247), with the
direction reversed:

    g     = s_e (e_c - e_0), kept where |g| reaches its quantile within the channel, 0 elsewhere
    gamma = g + s_m nu,  nu = beta nu + (1 - beta) gamma
    e     = e_0 + s_g (e_p - e_0) - gamma

gamma is not multiplied by the guidance scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from evenhand.host.carrier import channel_axis
from evenhand.interventions.guidance_term import COMPLETE, Branches, GuidanceTerm, Schedule, Term, everywhere
from evenhand.interventions.policy import Category, SafetyPolicy
from evenhand.interventions.window import Window
from evenhand.methods.concept_text import concept_text
from evenhand.methods.method import Method, Parameter, Setting
from evenhand.methods.ranges import NOT_NEGATIVE, PART


class SemanticFormula:
    """The equations above at one step."""

    def others(self, category: Category) -> tuple[str, ...]:
        """None but the concept's own text."""
        return ()

    def gathers(self, category: Category) -> bool:
        """Momentum gathers during the warm-up."""
        return category.momentum_scale > 0

    def term(self, category: Category, branches: Branches, memory: dict[str, torch.Tensor], guidance: float) -> Term:
        """gamma over the guidance scale, by which it will be multiplied."""
        direction = category.scale * (branches.concept - branches.anchor)
        size, axis = direction.float().abs(), channel_axis(direction)
        quantile = torch.quantile(size.movedim(axis, 1).flatten(2), category.threshold, dim=2)
        shape = [one if place in (0, axis) else 1 for place, one in enumerate(size.shape)]
        kept = (size >= quantile.view(shape)).to(direction.dtype)
        value = direction * kept
        if category.momentum_scale > 0:
            momentum = memory.get("momentum", torch.zeros_like(value))
            value = value + category.momentum_scale * momentum
            memory["momentum"] = category.momentum_beta * momentum + (1 - category.momentum_beta) * value
        return Term(value=value / guidance, switch=kept)


def sega(
    text: str,
    *,
    scale: float = 4.0,
    quantile: float = 0.9,
    warm_up: int | float = 0.2,
    momentum_scale: float = 0.3,
    momentum_beta: float = 0.4,
    schedule: Schedule = COMPLETE,
    strength: float = 1.0,
) -> GuidanceTerm:
    """Guide away from a text; the defaults are those of "medium" in the test bed for inappropriate prompts.

    Args:
        text: what must not appear.
        scale: edit scale [s_e]; not multiplied by the guidance scale.
        quantile: elements below it, channel by channel, are left alone; .9 keeps the largest tenth.
        warm_up: steps (a whole number) or a share of them (a float) before the term is applied.
        momentum_scale: [s_m]; 0 means none.
        momentum_beta: [beta].
        schedule: how much of the extra work is done.
        strength: factor on the term; 0 is off.

    Cost: one more denoiser row per image and step.
    """
    category = Category(
        text=text,
        scale=scale,
        threshold=quantile,
        threshold_kind="quantile",
        momentum_scale=momentum_scale,
        momentum_beta=momentum_beta,
        window=Window(start=warm_up),
    )
    return GuidanceTerm(
        name="sega",
        formula=SemanticFormula(),
        policies=everywhere(SafetyPolicy(name="sega", categories=(category,))),
        schedule=schedule,
        strength=strength,
    )


def _build(setting: Setting, values: Mapping[str, Any]) -> GuidanceTerm:
    return sega(
        concept_text(setting, values),
        scale=values["scale"],
        quantile=values["quantile"],
        warm_up=values["warmup"],
        strength=values["strength"],
    )


METHOD = Method(
    name="sega",
    site="prediction",
    source="SEGA, Brack et al., NeurIPS 2023, arXiv:2301.12247",
    summary="semantic guidance away from a text",
    parameters=(
        Parameter(name="text", help="what must not appear; else the model's own words for the concept"),
        Parameter(name="concept", help="the concept whose words are used", default="unsafe"),
        Parameter(name="scale", help="edit scale", kind="number", default="4", range=NOT_NEGATIVE),
        Parameter(name="quantile", help="elements below it are left alone", kind="number", default="0.9", range=PART),
        Parameter(name="warmup", help="steps before it acts, or a share of them", kind="start", default="0.2"),
    ),
    build=_build,
)
