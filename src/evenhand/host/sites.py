"""The sites where an intervention may act, and what it is told.

An intervention is asked once per call of the pipeline (`begin`) and answers with an effect for its site, which keeps
what it needs during that call and nothing longer. The host does the rest: it finds the place in the pipeline, calls
the effects in the order in which they were attached, and puts everything back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from evenhand.host.noise_level import NoiseLevel
from evenhand.host.probe import Probe
from evenhand.host.undo import Undo
from evenhand.records import Request

Site = Literal[
    "prompt", "text embedding", "initial noise", "selection", "activation", "prediction", "latent", "weight", "probe"
]


@dataclass(kw_only=True)
class Call:
    """One call of the pipeline.

    Attributes:
        prompts: the prompt of each image, None where the caller gave embeddings.
        requests: what each image was asked for, None where the pipeline was called by hand.
        images: number of images, which is the number of conditional rows of every denoiser call.
        steps: calls of the scheduler that will be made; 0 before the loop begins.
        guidance: scale of classifier-free guidance; 1 means that there is none.
        evidence: name of an intervention -> one record per image of what it did, filled when the call has ended.
    """

    prompts: tuple[str, ...] | None
    images: int
    requests: tuple[Request, ...] | None = None
    steps: int = 0
    guidance: float = 1.0
    evidence: dict[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a call: its index from 0, of how many, at which timestep, noise level and guidance.

    `after` is the timestep of the latents that it leaves, 0 for the last.
    """

    index: int
    total: int
    timestep: float
    after: float
    level: NoiseLevel
    guidance: float


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the denoiser said at one step, each of shape (images, ...); `unconditional` is None without guidance."""

    conditional: torch.Tensor
    unconditional: torch.Tensor | None
    of_text: Mapping[str, torch.Tensor]


class Effect(Protocol):
    """What an intervention does during one call; every site has one of its own below."""

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """One record per image of what was done; empty where there is nothing to tell."""
        ...


class PromptEffect(Effect, Protocol):
    """Changes the prompts before they are encoded."""

    def prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        """As many prompts as there were."""
        ...

    def negative_prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        """The negative prompts, "" where there is none."""
        ...


class TextEffect(Effect, Protocol):
    """Changes the embedded prompts; those that guidance compares with stay."""

    def embed(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(images, tokens, width) in and out."""
        ...


class NoiseEffect(Effect, Protocol):
    """Changes the noise that generation starts from."""

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """Standard normal noise in, noise of the same shape out."""
        ...


class SelectionEffect(Effect, Protocol):
    """Tries several noises for an image and finishes one; nothing else can act on the same call."""

    def choose(self, noise: torch.Tensor, rehearse: Any) -> torch.Tensor:
        """Finished latents from standard normal noise; `rehearse` is a `host.rehearsal.Rehearsal`."""
        ...


class ActivationEffect(Effect, Protocol):
    """Changes the output of one module of the denoiser, for the conditional rows."""

    @property
    def module(self) -> str:
        """Path of the module inside the denoiser."""
        ...

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        """The output of the module for the conditional rows, changed."""
        ...


class PredictionEffect(Effect, Protocol):
    """Subtracts a term from the conditional prediction, so that guidance multiplies it."""

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts whose predictions it may ask for."""
        ...

    @property
    def joined(self) -> bool:
        """True: these predictions are computed in the same denoiser call as the others, as one batch."""
        ...

    def wanted(self, step: Step) -> Mapping[str, Sequence[bool]]:
        """Text -> for which images its prediction is needed at this step; an empty mapping for none."""
        ...

    def term(self, step: Step, predictions: Predictions) -> torch.Tensor | None:
        """What is subtracted, shape (images, ...); None for nothing. Rows that were not asked for hold zeros."""
        ...


class LatentEffect(Effect, Protocol):
    """Changes the latents at the end of a step."""

    def update(self, step: Step, latents: torch.Tensor) -> torch.Tensor:
        """The latents, changed."""
        ...


class WeightEffect(Effect, Protocol):
    """Changes weights of the denoiser, for all images of the call."""

    def install(self, denoiser: torch.nn.Module, undo: Undo) -> None:
        """Put other weights in place, through `undo`."""
        ...


class ProbeEffect(Effect, Protocol):
    """Changes nothing: it asks the denoiser questions, for fitting."""

    def visit(self, step: Step, probe: Probe) -> None:
        """Called at every step, before the denoiser computes its own rows."""
        ...


class Attachable(Protocol):
    """What `Host.attached` takes."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    @property
    def site(self) -> Site:
        """Where it acts."""
        ...

    @property
    def strength(self) -> float:
        """1 is as fitted, 0 is off: then the host leaves it out altogether."""
        ...

    def check(self, host: Any) -> None:
        """Raise an InputError that says why it does not fit this model; nothing has been changed yet."""
        ...

    def begin(self, call: Call) -> Effect | None:
        """Its effect during one call of the pipeline, None to leave that call alone."""
        ...
