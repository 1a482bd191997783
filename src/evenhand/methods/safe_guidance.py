"""Safe latent diffusion: guidance away from what must not appear, while the image forms.

Schramowski, Brack, Deiseroth, Kersting: Safe Latent Diffusion (CVPR 2023, arXiv:2211.05105), equations 3 to 8. With the
unconditional prediction e_0, the prompt's e_p and the concept's e_S:

    switch   mu    = 0 where e_p - e_S >= lambda, else min(1, s_S |e_p - e_S|)
    term     gamma = mu (e_S - e_0) + s_m nu
    momentum nu    = beta nu + (1 - beta) gamma, from nu = 0; it gathers during the warm-up too
    guidance e_0 + s_g (e_p - e_0 - gamma), gamma from step delta on

All of it is in units of noise; other predictions are converted (see `host.noise_level`), so the presets mean the same
on a model that predicts velocity or flow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch

from evenhand.errors import InputError
from evenhand.interventions.guidance_term import (
    COMPLETE,
    Branches,
    Formula,
    GuidanceTerm,
    PolicyOf,
    Schedule,
    Term,
    everywhere,
)
from evenhand.interventions.policy import Category, SafetyPolicy
from evenhand.interventions.window import Window
from evenhand.methods.concept_text import concept_text
from evenhand.methods.local_guidance import LocalFormula, local_policy
from evenhand.methods.method import Method, Parameter, Setting

PUBLISHED_TEXT = (
    "an image showing hate, harassment, violence, suffering, humiliation, harm, suicide, sexual, nudity, bodily "
    "fluids, blood, obscene gestures, illegal activity, drug use, theft, vandalism, weapons, child abuse, brutality, "
    "cruelty"
)
"""The concept of the paper with the prefix that diffusers gives it; 83 tokens or more where the vocabulary is small."""


def _preset(
    scale: float, warm_up: int | float, threshold: float = 0.0, momentum_scale: float = 0.0, momentum_beta: float = 0.0
) -> Category:
    return Category(
        text=PUBLISHED_TEXT,
        scale=scale,
        threshold=threshold,
        momentum_scale=momentum_scale,
        momentum_beta=momentum_beta,
        window=Window(start=warm_up),
    )


PRESETS: Mapping[str, Category] = MappingProxyType(
    {
        "weak": _preset(200, 15),
        "weak-diffusers": _preset(20, 15),  # diffusers' SafetyConfig.WEAK is ten times weaker than the published one
        "medium": _preset(1000, 10, 0.01, 0.3, 0.4),
        "strong": _preset(2000, 7, 0.025, 0.5, 0.7),
        "max": _preset(5000, 0, 1.0, 0.5, 0.7),
    }
)
"""The published settings; windows are denoiser steps of a schedule of 50."""


def preset(name: str, text: str = PUBLISHED_TEXT, *, steps: int | None = None) -> SafetyPolicy:
    """A published setting as a policy.

    Args:
        name: weak, weak-diffusers, medium, strong or max.
        text: what must not appear.
        steps: None keeps the published warm-up, in steps; a number turns it into the same share of any schedule
            (50 for the published one: strong starts after .14 of the steps).

    Raises:
        InputError: an unknown name.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r} is not known; expected one of {', '.join(PRESETS)}")
    category = dataclasses.replace(PRESETS[name], text=text)
    if steps is not None:
        category = dataclasses.replace(category, window=Window(start=category.window.start / steps))
    return SafetyPolicy(name=name, categories=(category,))


class PublishedFormula:
    """Equations 4 to 8 at one step."""

    def others(self, category: Category) -> tuple[str, ...]:
        """None but the concept's own text."""
        return ()

    def gathers(self, category: Category) -> bool:
        """Momentum gathers during the warm-up."""
        return category.momentum_scale > 0

    def term(self, category: Category, branches: Branches, memory: dict[str, torch.Tensor], guidance: float) -> Term:
        """gamma and mu."""
        difference = branches.prompt - branches.concept
        switch = torch.clamp(torch.abs(difference) * category.scale, max=1.0)
        switch = torch.where(difference >= _threshold(category, difference), torch.zeros_like(switch), switch)
        value = torch.mul(branches.concept - branches.anchor, switch)
        if category.momentum_scale > 0:
            momentum = memory.get("momentum", torch.zeros_like(value))
            value = value + category.momentum_scale * momentum
            memory["momentum"] = category.momentum_beta * momentum + (1 - category.momentum_beta) * value
        return Term(value=value, switch=switch)


class SafeGuidanceFormula:
    """The form that each category names."""

    _FORMS: ClassVar[Mapping[str, Formula]] = MappingProxyType(
        {"published": PublishedFormula(), "local": LocalFormula()}
    )

    def others(self, category: Category) -> tuple[str, ...]:
        """What its form asks for."""
        return self._FORMS[category.form].others(category)

    def gathers(self, category: Category) -> bool:
        """Whether its form gathers."""
        return self._FORMS[category.form].gathers(category)

    def term(self, category: Category, branches: Branches, memory: dict[str, torch.Tensor], guidance: float) -> Term:
        """What its form gives."""
        return self._FORMS[category.form].term(category, branches, memory, guidance)


def _threshold(category: Category, difference: torch.Tensor) -> torch.Tensor | float:
    if category.threshold_kind == "absolute":
        return category.threshold
    if category.threshold == 1:  # everything is let in
        return float("inf")
    shares = torch.quantile(difference.float().flatten(1), category.threshold, dim=1)
    return shares.to(difference.dtype).view(-1, *[1] * (difference.ndim - 1))


EXACT = Schedule(joined=True)
"""All branches in one denoiser call, nothing skipped: the latents of the reference pipeline."""
FAST = Schedule(refresh=4, skip_below=0.05, gather=False)
"""The branch every fourth step of the window, none before it, and none for images that it would hardly change."""


def safe_guidance(
    policy: SafetyPolicy | PolicyOf,
    *,
    schedule: Schedule | None = None,
    strength: float = 1.0,
    distilled_scale: float | None = None,
) -> GuidanceTerm:
    """Safe latent diffusion as an intervention; nothing is trained.

    Args:
        policy: what must not appear, for every image; or a function that gives each image of a call its policy.
        schedule: how much of the extra work is done; None does all of it, `FAST` little, `EXACT` as the reference.
        strength: factor on the term; 1 as published, 0 is off.
        distilled_scale: for models without classifier-free guidance; None refuses them.

    Raises:
        InertGuidanceError: (when the pipeline is called) guidance of 1 or less without `distilled_scale`, or a window
            that holds no step.

    Cost: one more denoiser row per image, category and step of the window (and of the warm-up, where momentum is on).
    """
    return GuidanceTerm(
        name="safe-guidance",
        formula=SafeGuidanceFormula(),
        policies=everywhere(policy) if isinstance(policy, SafetyPolicy) else policy,
        schedule=schedule or COMPLETE,
        strength=strength,
        distilled_scale=distilled_scale,
    )


SCHEDULES: Mapping[str, Schedule] = MappingProxyType({"full": COMPLETE, "exact": EXACT, "fast": FAST})


BALANCED = "balanced"
"""The preset of the local form."""


def balanced(setting: Setting, values: Mapping[str, Any]) -> SafetyPolicy:
    """The local form for the parts of a concept, or for one text of the user's.

    Raises:
        InputError: the concept names no parts, and no text is given.
    """
    base = values["base"]
    if values["text"]:
        return local_policy([values["text"]], base=base or "")
    concept = setting.concept(values["concept"])
    if not concept.parts:
        raise InputError(
            f"concept {concept.name!r} names no parts, which preset={BALANCED} takes away; give one with text=, and "
            "with base= the same text without it"
        )
    base = concept.subject or "" if base is None else base
    looks = concept.look_alikes if values["keep"] == "look-alikes" else ()
    parts, keep = ([f"{base} with {thing}".strip() for thing in things] for things in (concept.parts, looks))
    return local_policy(parts, base=base, keep=keep)


def _policy(setting: Setting, values: Mapping[str, Any]) -> SafetyPolicy:
    if values["preset"] == BALANCED:
        policy = balanced(setting, values)
    else:
        text = concept_text(setting, values, PUBLISHED_TEXT)
        exact = values["schedule"] == "exact"
        policy = preset(values["preset"], text, steps=None if exact else _PUBLISHED_STEPS)
    if values["warmup"] is None:
        return policy
    window = Window(start=values["warmup"])
    return dataclasses.replace(
        policy, categories=tuple(dataclasses.replace(one, window=window) for one in policy.categories)
    )


def _build(setting: Setting, values: Mapping[str, Any]) -> GuidanceTerm:
    policy = _policy(setting, values)
    return safe_guidance(policy, schedule=SCHEDULES[values["schedule"]], strength=values["strength"])


_PUBLISHED_STEPS = 50

METHOD = Method(
    name="safe-guidance",
    site="prediction",
    source="Safe Latent Diffusion, Schramowski et al., CVPR 2023, arXiv:2211.05105",
    summary="guidance away from what must not appear, while the image forms",
    parameters=(
        Parameter(name="preset", help="how strongly", kind="choice", default="strong", choices=(*PRESETS, BALANCED)),
        Parameter(name="text", help="what must not appear; else the model's own words for the concept"),
        Parameter(name="concept", help="the concept whose words are used", default="unsafe"),
        Parameter(name="base", help="of preset=balanced: the text without what must not appear"),
        Parameter(
            name="keep",
            help="of preset=balanced: nothing, or what the concept names as look-alikes, at a row each",
            kind="choice",
            default="nothing",
            choices=("nothing", "look-alikes"),
        ),
        Parameter(
            name="schedule", help="how much is computed", kind="choice", default="full", choices=tuple(SCHEDULES)
        ),
        Parameter(name="warmup", help="steps before it acts, or a share of them (0.14)", kind="start"),
    ),
    build=_build,
)
