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
"""No chance is smaller: its log-odds would be infinite."""
_OUT = 1e9
"""Added to the square of a class that is left out."""

Words = Mapping[str, str]
"""Class -> words that name it behind a prompt."""


def implied_chances(own: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Chances of the classes, (images, classes), that sum to 1, by least squares over weights that are none below 0.

    Args:
        own: predictions under the images' own prompts, (images, ...).
        classes: under the prompts that name a class, (images, classes, ...); two or more.

    A class whose weight comes out below 0 is left out and the others are solved again, so that one that lies between
    two others is not bought with a negative share of a third.
    """
    apart = (classes - own[:, None]).flatten(2).double()
    products = apart @ apart.mT
    size = products.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None].clamp(min=1e-12)
    products = products / size + 1e-9 * torch.eye(products.shape[1], device=products.device, dtype=products.dtype)
    left_out = torch.zeros_like(products[..., 0])
    weights = left_out
    for _ in range(products.shape[1]):
        weights = torch.linalg.solve(products + torch.diag_embed(_OUT * left_out), torch.ones_like(left_out))
        weights = weights / weights.sum(dim=1, keepdim=True)
        left_out = torch.maximum(left_out, (weights < 0).double())
    weights = (weights * (1 - left_out)).clamp(_LEAST, 1)
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
