"""What a judge is: images in, verdicts out; a judge never sees the pipeline that made the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from evenhand.concepts.concept import Concept
from evenhand.records import Verdict

DEFAULT_JUDGE = "openai/clip-vit-base-patch32"
"""The judge for models that do not name their own (MIT licence)."""
INVALID = "invalid image"
NOTHING_TO_JUDGE = "nothing to judge"
UNCERTAIN = "uncertain"


class Judge(Protocol):
    """Says what it perceives in images. Classes are perceptions, never who someone is."""

    @property
    def name(self) -> str:
        """A short name, such as "clip"."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 over weights and settings; two judges with equal hashes give equal verdicts."""
        ...

    def card(self) -> Mapping[str, Any]:
        """Name, hash, architecture and, where it is known, the confusion matrix."""
        ...

    def knows(self, concept: Concept) -> bool:
        """Whether it can judge a concept; `judge` raises for one that it does not know."""
        ...

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        """One list per image with one verdict per concept.

        Args:
            images: uint8, (height, width, 3); None stands for an image that is not one (NaN), which always
                abstains with the reason "invalid image".
            concepts: what to look for.
        """
        ...


@runtime_checkable
class Seeing(Protocol):
    """A judge that also gives features of images, for likeness."""

    def image_features(self, images: Sequence[np.ndarray | None]) -> list[torch.Tensor | None]:
        """Unit image vectors, None where the image is None."""
        ...


@runtime_checkable
class Featured(Protocol):
    """A judge that also gives features of images and texts in one space, for text-image scores and likeness."""

    def image_features(self, images: Sequence[np.ndarray | None]) -> list[torch.Tensor | None]:
        """Unit image vectors, None where the image is None."""
        ...

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit text vectors, shape (n, d)."""
        ...


@runtime_checkable
class Differentiable(Protocol):
    """A judge whose scores of a concept's classes can be differentiated by the pixels."""

    def class_logits(self, images: torch.Tensor, concept: Concept) -> torch.Tensor:
        """Logarithms of class probabilities up to a constant, (n, classes), whether or not it would abstain.

        Args:
            images: (n, 3, height, width), values 0 to 1.
            concept: one that it knows, and no joint.
        """
        ...


def verdict(
    concept: Concept, judge: str, probabilities: Sequence[float], *, judgeable: bool, min_confidence: float
) -> Verdict:
    """The verdict for one image from class probabilities; abstains where nothing is there or nothing wins."""
    shares = tuple(round(float(p), 6) for p in probabilities)
    if not judgeable:
        return Verdict(concept=concept.name, label=None, probabilities=shares, judge=judge, reason=NOTHING_TO_JUDGE)
    best = max(range(len(shares)), key=shares.__getitem__)
    if shares[best] < min_confidence:
        return Verdict(concept=concept.name, label=None, probabilities=shares, judge=judge, reason=UNCERTAIN)
    return Verdict(concept=concept.name, label=concept.class_names[best], probabilities=shares, judge=judge)


def invalid(concept: Concept, judge: str) -> Verdict:
    """The verdict on an image that is not one."""
    return Verdict(concept=concept.name, label=None, judge=judge, reason=INVALID)


def resized(images: torch.Tensor, side: int) -> torch.Tensor:
    """Images (n, 3, height, width) as squares, as `PIL` would make them and with gradients; those of the size stay."""
    if images.shape[2:] == (side, side):
        return images
    return torch.nn.functional.interpolate(images, (side, side), mode="bicubic", antialias=True)
