"""Fitting on the toy model: images are read by the picture that their latents are nearest to, which is the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from evenhand.concepts.prompts import PromptRow
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.methods.fitting import Fitting
from evenhand.methods.method import Setting
from evenhand.records import Request, Sample, Settings
from evenhand.testing.toy import ToyWorld
from evenhand.watch import Silent

GENDER_PROMPTS = {
    "": (0.5, 0.5),
    "a photo of a person": (0.5, 0.5),
    "a photo of a woman": (0.98, 0.02),
    "a photo of a man": (0.02, 0.98),
}
"""The texts of the concept gender, and no text, for a `ToyWorld` that methods are fitted on."""

FITTING_WORLD = ToyWorld(
    prompts={
        **GENDER_PROMPTS,
        "a nurse": (0.8, 0.2),
        "a mechanic": (0.2, 0.8),
        "a nurse, woman": (0.98, 0.02),
        "a nurse, man": (0.02, 0.98),
        "a mechanic, woman": (0.98, 0.02),
        "a mechanic, man": (0.02, 0.98),
    }
)
"""A toy world that knows the texts of the concept gender."""


def toy_fitting(host: Host, world: ToyWorld, *, rows: Sequence[str], knows: bool = True) -> Fitting:
    """What a fit on a toy host is given.

    Args:
        host: from `toy_host`.
        world: the same that the host was made with.
        rows: prompts to try interventions on.
        knows: whether the fit judge knows the concept.
    """
    settings = Settings(steps=20, guidance=1.0)

    def make(attached: Sequence[Any], requests: Sequence[Request], /, steps: int | None = None) -> list[Sample]:
        asked = dataclasses.replace(settings, steps=steps or settings.steps)
        with host.attached(*attached):
            return list(sample(host, requests, asked, batch_size=32, keep_latents=True))

    return Fitting(
        host=host,
        settings=settings,
        setting=Setting(),
        make=make,
        read=lambda samples, concepts: [tuple(toy_label(one, world) for _ in concepts) for one in samples],
        knows=lambda concept: knows and concept.class_names == world.classes,
        rows=lambda concept: tuple(PromptRow(name=row, templates=(row,)) for row in rows),
        judge_hash="the toy's truth",
        watcher=Silent(),
        logits=lambda images, concept: toy_logits(images, world),
    )


def toy_label(one: Sample, world: ToyWorld) -> str:
    """The class whose picture the final latents are nearest to."""
    if one.latents is None:
        raise ValueError("the sample has no latents; make it with keep_latents")
    likeness = world.pictures().flatten(1) @ torch.from_numpy(one.latents).flatten()
    return world.classes[int(likeness.argmax())]


def toy_logits(images: torch.Tensor, world: ToyWorld) -> torch.Tensor:
    """How near the pixels are to each class's picture, of which images show three of four channels; (n, classes)."""
    pictures = world.pictures()[:, :3].flatten(1)
    return ((images - 0.5) * 4).flatten(1) @ pictures.T / 4
