"""What a method is given when it fits, and what it gives back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from evenhand.concepts.concept import Concept
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import InputError
from evenhand.host.differentiable import Embed
from evenhand.host.host import Host
from evenhand.host.sites import Attachable
from evenhand.interventions.storage import Card
from evenhand.records import Request, Sample, Settings
from evenhand.watch import Watcher

if TYPE_CHECKING:
    from evenhand.methods.method import Setting

Labels = list[tuple[str | None, ...]]
"""Per image, one label for each concept that was asked about; None where the judge abstains."""


@dataclasses.dataclass(frozen=True)
class FitPlan:
    """One thing to fit: the name of the method that does it, and the parameters that decide what is fitted."""

    method: str
    values: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One part of what a fit does, as far as it is known before a model is loaded.

    Args:
        what: in a few words.
        images: made by the model's own sampler.
        rows: denoiser evaluations beside those of the images.
        differentiated: denoiser evaluations that are differentiated too, which takes about three times as long.
        at_most: whether these are the most that it may be.
    """

    what: str
    images: int = 0
    rows: int = 0
    differentiated: int = 0
    at_most: bool = False

    def evaluations(self, steps: int, *, guided: bool) -> int:
        """Denoiser evaluations, where an image takes so many steps; twice with classifier-free guidance."""
        return self.images * steps * (2 if guided else 1) + self.rows + self.differentiated

    def weight(self, steps: int, *, guided: bool) -> float:
        """The same in units of time, where a plain evaluation takes 1."""
        return self.evaluations(steps, guided=guided) + 2 * self.differentiated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preview:
    """What a method may know when it says what a fit would do: nothing is loaded.

    Args:
        setting: concepts, targets, the seed.
        rows: the rows of a concept's prompt set that the model's card knows.
    """

    setting: Setting
    rows: Callable[[Concept], tuple[PromptRow, ...]]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """What was fitted: tensors, the card that says what they belong to, and further files that `fit` saves beside."""

    tensors: Mapping[str, torch.Tensor]
    card: Card
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


class Make(Protocol):
    """Makes images (and latents) of requests with interventions attached."""

    def __call__(
        self, interventions: Sequence[Attachable], requests: Sequence[Request], /, steps: int | None = None
    ) -> list[Sample]:
        """The images in the requests' order; `steps` of the sampler, None for as many as the model has."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fitting:
    """A model to fit on, and the means to look at what an intervention does.

    Args:
        host: the model; nothing of it is trained.
        settings: its own steps, guidance and size.
        setting: concepts, the model's words for them, and the seed.
        make: images (and latents) of requests with interventions attached, in all steps or in fewer.
        read: labels of samples by the fit judge; the report judge never takes part.
        knows: whether the fit judge can judge a concept.
        rows: the rows of a concept's prompt set that the model knows; empty where it names none.
        judge_hash: of the fit judge.
        watcher: told of progress.
        features: unit vectors of samples by the fit judge, (n, d), for likeness; None where it gives none.
        texts: unit vectors of texts in the same space, (n, d); None where it reads none.
        scratch: a folder of this plan's own, in which long work is kept so that it goes on after a kill; None where
            nothing is to be kept.
        logits: the fit judge's class logits (n, classes) of images (n, 3, height, width), values 0 to 1, with
            gradients; None where it gives none.
        embed: what `make` does to the embedded prompts of every image, for those who make none with it; None where it
            leaves them as they are.
    """

    host: Host
    settings: Settings
    setting: Setting
    make: Make
    read: Callable[[Sequence[Sample], Sequence[Concept]], Labels]
    knows: Callable[[Concept], bool]
    rows: Callable[[Concept], tuple[PromptRow, ...]]
    judge_hash: str
    watcher: Watcher
    features: Callable[[Sequence[Sample]], np.ndarray | None] = lambda samples: None
    texts: Callable[[Sequence[str]], np.ndarray | None] = lambda texts: None
    scratch: Path | None = None
    logits: Callable[[torch.Tensor, Concept], torch.Tensor] | None = None
    embed: Embed | None = None

    def check_attribute(self, method: str, concept: Concept) -> None:
        """Raises InputError where a method that gives shares by judged images cannot be fitted to a concept."""
        if concept.kind != "attribute":
            raise InputError(
                f"{method} gives an attribute its shares; for {concept.name} use safe-guidance or concept-vector"
            )
        self.check_known(method, concept)

    def check_known(self, method: str, concept: Concept) -> None:
        """Raises InputError where the fit judge cannot judge a concept."""
        if not self.knows(concept):
            raise InputError(
                f"{method} learns from judged images, and the fit judge does not know {concept.name} with the classes "
                f"{', '.join(concept.class_names)}; name another --judge"
            )
