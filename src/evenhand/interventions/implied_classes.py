"""What the denoiser itself expects an image to show, read from its predictions at a step.

Under a neutral prompt the best prediction for the latents x_t is the mean of those under the prompts that name a class,
weighted by how likely each class is, given x_t:

    e(x_t | neutral) = sum_c p(c | x_t, neutral) e(x_t | c)

So the weights of the least squares are the chances of the classes, long before an image can be seen. Nothing is
trained, and whatever the denoiser predicts (noise, velocity, the image) they are the same. Texts that name a class are
taken at their word: where a model does not obey them the weights lean to one side, as a threshold may.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from evenhand.errors import InputError
from evenhand.host.sites import Call, Predictions, Site, Step

_LEAST = 1e-3
"""Least squares leave [0, 1] a little; chances are kept inside."""

Words = Mapping[str, str]
"""Class -> words that name it behind a prompt."""


def implied_chances(own: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Chances of the classes, (images, classes), that sum to 1.

    Args:
        own: predictions under the images' own prompts, (images, ...).
        classes: under the prompts that name a class, (images, classes, ...); two or more.
    """
    apart = (classes[:, :-1] - classes[:, -1:]).flatten(2).double()
    rest = (own - classes[:, -1]).flatten(1).double()
    left = apart @ apart.mT
    # where the model makes no difference between two classes, the least-norm solution leaves both alone
    first = (torch.linalg.pinv(left) @ (apart @ rest[..., None]))[..., 0]
    weights = torch.cat([first, 1 - first.sum(dim=1, keepdim=True)], dim=1).clamp(_LEAST, 1)
    return (weights / weights.sum(dim=1, keepdim=True)).float()


def step_after(share: float, steps: int) -> int:
    """The number of the step with which a share of them is made."""
    return max(1, round(share * steps)) - 1


class ImpliedReading:
    """Reads at some steps of one call; changes nothing.

    Args:
        prompts: of the images.
        factors: attributes, each with the words for its classes.
        shares: of the steps; the last step of each is read, before it is made.

    Cost: a denoiser row per image, class and share.
    """

    joined = False

    def __init__(self, prompts: Sequence[str], factors: Sequence[Words], shares: Sequence[float]) -> None:
        self._shares = tuple(shares)
        # factor -> image -> text per class
        self._texts = [[[f"{prompt}, {one}" for one in words.values()] for prompt in prompts] for words in factors]
        self._found: dict[int, list[torch.Tensor]] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        """Every prompt with the words for every class."""
        return tuple(dict.fromkeys(text for rows in self._texts for row in rows for text in row))

    def wanted(self, step: Step) -> Mapping[str, Sequence[bool]]:
        """Text -> the images whose prompt it speaks of, at the steps that are read."""
        if not self._due(step):
            return {}
        own = [{text for some in parts for text in some} for parts in zip(*self._texts, strict=True)]
        return {text: [text in some for some in own] for text in self.texts}

    def term(self, step: Step, predictions: Predictions) -> None:
        """Nothing is subtracted."""
        if self._due(step):
            self._found[step.index] = [
                implied_chances(
                    predictions.conditional,
                    torch.stack(
                        [
                            torch.stack([predictions.of_text[text][place] for text in row])
                            for place, row in enumerate(rows)
                        ]
                    ),
                ).cpu()
                for rows in self._texts
            ]
            self._total = step.total

    def chances(self, share: float) -> list[torch.Tensor]:
        """Of each factor the chances of its classes, (images, classes), as read at a share of the steps."""
        return self._found[step_after(share, self._total)]

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """Nothing to tell."""
        return ()

    def _due(self, step: Step) -> bool:
        return step.index in {step_after(share, step.total) for share in self._shares}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImpliedClasses:
    """An onlooker that keeps the readings of every call, for fitting.

    Args:
        factors: attributes, each with the words for its classes.
        shares: of the steps, at which is read.
        readings: of the calls, in their order.
    """

    factors: Sequence[Words]
    shares: Sequence[float]
    readings: list[ImpliedReading] = dataclasses.field(default_factory=list)
    name: str = "implied classes"
    site: Site = "prediction"
    strength: float = 1.0

    def check(self, host: Any) -> None:
        """Any model will do."""

    def begin(self, call: Call) -> ImpliedReading:
        """The reading of one call.

        Raises:
            InputError: only embeddings were given.
        """
        if call.prompts is None:
            raise InputError("classes are named behind the prompt, and only prompt_embeds is given; give prompt=")
        self.readings.append(ImpliedReading(call.prompts, self.factors, self.shares))
        return self.readings[-1]

    def chances(self, share: float, factor: int = 0) -> torch.Tensor:
        """Of all calls, (images, classes)."""
        return torch.cat([one.chances(share)[factor] for one in self.readings])
