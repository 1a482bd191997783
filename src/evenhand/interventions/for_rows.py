"""An intervention for some images of a batch: the others keep their bits.

Requests of different users share a batch, and each has interventions of its own. Whatever an intervention does at its
site, its effect is taken back here for the rows that it is not meant for, so that no neighbour ever sees it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import InputError
from evenhand.host.sites import Attachable, Call, Predictions, Site, Step

RowsOf = Callable[[Call], Sequence[bool]]
"""For each image of a call whether the intervention is meant for it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForRows:
    """Another intervention, restricted to some images of each call.

    Args:
        one: the intervention.
        rows: for each image of a call whether it is meant for it.

    Raises:
        InputError: it acts on a whole batch (weights, the selection of noises) and cannot be restricted.
    """

    one: Attachable
    rows: RowsOf

    def __post_init__(self) -> None:
        if self.one.site not in RESTRICTED:
            raise InputError(
                f"{self.one.name} acts on whole batches (site {self.one.site}); it cannot be given to some images only"
            )

    @property
    def name(self) -> str:
        """That of the intervention."""
        return self.one.name

    @property
    def site(self) -> Site:
        """That of the intervention."""
        return self.one.site

    @property
    def strength(self) -> float:
        """That of the intervention."""
        return self.one.strength

    def check(self, host: Any) -> None:
        """Raises what the intervention raises."""
        self.one.check(host)

    def begin(self, call: Call) -> Any:
        """The effect on one call; None where no image is meant."""
        rows = tuple(bool(one) for one in self.rows(call))
        effect: Any = self.one.begin(call) if any(rows) else None
        return effect if effect is None or all(rows) else _EFFECTS[self.site](effect, rows)


class _Restricted:
    """One call."""

    def __init__(self, effect: Any, rows: Sequence[bool]) -> None:
        self._effect, self._rows = effect, tuple(rows)

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """What was done; nothing to an image that it is not meant for."""
        told = self._effect.evidence()
        return [record if one else {} for record, one in zip(told, self._rows, strict=True)] if told else told

    def _only(self, changed: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        rows = torch.tensor(self._rows, device=kept.device).view(-1, *[1] * (kept.ndim - 1))
        return torch.where(rows, changed, kept)


class _Prompts(_Restricted):
    def prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        return self._chosen(self._effect.prompts(prompts), prompts)

    def negative_prompts(self, prompts: Sequence[str]) -> Sequence[str]:
        return self._chosen(self._effect.negative_prompts(prompts), prompts)

    def _chosen(self, changed: Sequence[str], kept: Sequence[str]) -> list[str]:
        return [new if one else old for new, old, one in zip(changed, kept, self._rows, strict=True)]


class _Embeddings(_Restricted):
    def embed(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self._only(self._effect.embed(embeddings), embeddings)


class _Noise(_Restricted):
    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        return self._only(self._effect.draw(noise), noise)


class _Activations(_Restricted):
    @property
    def module(self) -> str:
        return self._effect.module

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        return self._only(self._effect.shift(step, output), output)


class _Latents(_Restricted):
    def update(self, step: Step, latents: torch.Tensor) -> torch.Tensor:
        return self._only(self._effect.update(step, latents), latents)


class _Term(_Restricted):
    """The predictions for further texts are asked for in its own rows only, so that the others cost nothing."""

    @property
    def texts(self) -> tuple[str, ...]:
        return self._effect.texts

    @property
    def joined(self) -> bool:
        return self._effect.joined

    def wanted(self, step: Step) -> Mapping[str, Sequence[bool]]:
        asked = self._effect.wanted(step)
        return {
            text: [one and meant for one, meant in zip(mask, self._rows, strict=True)] for text, mask in asked.items()
        }

    def term(self, step: Step, predictions: Predictions) -> torch.Tensor | None:
        term = self._effect.term(step, predictions)
        return None if term is None else self._only(term, torch.zeros_like(term))


_EFFECTS: Mapping[Site, type[_Restricted]] = {
    "prompt": _Prompts,
    "text embedding": _Embeddings,
    "initial noise": _Noise,
    "activation": _Activations,
    "latent": _Latents,
    "prediction": _Term,
}

RESTRICTED: frozenset[Site] = frozenset(_EFFECTS)
"""Sites at which an intervention can be given to some images only."""
