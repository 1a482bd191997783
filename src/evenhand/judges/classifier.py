"""Judging with a classifier that has one head per concept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.errors import ConceptError
from evenhand.records import Verdict

from .base import invalid, resized, verdict


class ClassifierJudge:
    """Softmax over the head of a concept; abstains where the head `presence` sees something else.

    Args:
        model: images in [-1, 1], shape (n, 3, size, size), to logits per head.
        heads: head name to its class names, in the order of the logits; "_" in them stands for a space.
        features: images in [-1, 1] to what the heads read, for likeness; None for a judge that gives no features.
        aliases: name of a concept -> the head that reads it, where they differ.
        name: how results call this judge.
        size: side of the square images that the model takes.
        min_confidence: the least probability of the winning class, from 0 (off: never abstains for this reason) to 1.
        batch_size: images per forward; padded, so that one image's verdict does not depend on the others.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        heads: Mapping[str, Sequence[str]],
        *,
        features: torch.nn.Module | None = None,
        aliases: Mapping[str, str] | None = None,
        name: str = "convnet",
        size: int = 64,
        min_confidence: float = 0.0,
        batch_size: int = 64,
    ) -> None:
        self._model = model.eval()
        self._heads = {key: tuple(one.replace("_", " ") for one in value) for key, value in heads.items()}
        self._features, self._aliases = features, dict(aliases or {})
        self.name = name
        self._size, self._min_confidence, self._batch_size = size, min_confidence, batch_size
        self._hash = ""

    @property
    def hash(self) -> str:
        """SHA-256 over the weights and the settings."""
        if not self._hash:
            digest = hashlib.sha256(f"classifier {self._min_confidence}".encode())
            for key, value in sorted(self._model.state_dict().items()):
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
            self._hash = digest.hexdigest()
        return self._hash

    def card(self) -> Mapping[str, Any]:
        return {"name": self.name, "hash": self.hash, "kind": "classifier", "heads": sorted(self._heads)}

    def knows(self, concept: Concept) -> bool:
        return self._lacking(concept) is None

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        for concept in concepts:
            lacking = self._lacking(concept)
            if lacking is not None:
                raise ConceptError(f"judge {self.name}: {lacking}; name another --judge")
        rows = self._probabilities(images)
        return [
            [invalid(one, self.name) if row is None else self._verdict(row, one) for one in concepts] for row in rows
        ]

    @torch.no_grad()
    def image_features(self, images: Sequence[np.ndarray | None]) -> list[torch.Tensor | None]:
        """Unit vectors of what the heads read, None where the image is None or the judge gives no features."""
        if self._features is None:
            return [None] * len(images)
        rows: list[torch.Tensor] = []
        for pixels, count in self._batches(images):
            rows += list(torch.nn.functional.normalize(self._features(pixels)[:count], dim=1).cpu())
        found = iter(rows)
        return [None if image is None else next(found) for image in images]

    def class_logits(self, images: torch.Tensor, concept: Concept) -> torch.Tensor:
        """Logits of a concept's head, (n, classes); gradients flow to the images (n, 3, height, width), 0 to 1."""
        head = self._aliases.get(concept.name, concept.name)
        order = [self._heads[head].index(name.replace("_", " ")) for name in concept.class_names]
        return self._model(resized(images, self._size).to(self._device) * 2 - 1)[head][:, order]

    @property
    def _device(self) -> torch.device:
        return next((one.device for one in self._model.parameters()), torch.device("cpu"))

    def _lacking(self, concept: Concept) -> str | None:
        """Why a concept cannot be judged; None where it can."""
        for factor in concept.factors:
            head = self._heads.get(self._aliases.get(factor, factor))
            if head is None:
                return f"cannot judge {factor!r}; it knows {', '.join(sorted(self._heads))}"
            one = concept if len(concept.factors) == 1 else load_concept(factor)
            unknown = [name for name in one.class_names if name.replace("_", " ") not in head]
            if unknown:
                return f"does not know the class {unknown[0]!r} of {factor}, only {', '.join(head)}"
        return None

    def _batches(self, images: Sequence[np.ndarray | None]) -> Iterator[tuple[torch.Tensor, int]]:
        """Valid images as batches of one size, and how many of each are no padding."""
        valid = [self._fitted(image) for image in images if image is not None]
        for start in range(0, len(valid), self._batch_size):
            chunk = valid[start : start + self._batch_size]
            padded = np.stack([*chunk, *[chunk[-1]] * (self._batch_size - len(chunk))])
            yield torch.from_numpy(padded).permute(0, 3, 1, 2).float().to(self._device) / 127.5 - 1, len(chunk)

    @torch.no_grad()
    def _probabilities(self, images: Sequence[np.ndarray | None]) -> list[dict[str, torch.Tensor] | None]:
        rows: list[dict[str, torch.Tensor]] = []
        for pixels, count in self._batches(images):
            shares = {name: torch.softmax(logits, dim=1).cpu() for name, logits in self._model(pixels).items()}
            rows.extend({name: values[i] for name, values in shares.items()} for i in range(count))
        found = iter(rows)
        return [None if image is None else next(found) for image in images]

    def _fitted(self, image: np.ndarray) -> np.ndarray:
        if image.shape[:2] == (self._size, self._size):
            return image
        return np.asarray(Image.fromarray(image).resize((self._size, self._size), Image.Resampling.BICUBIC))

    def _verdict(self, row: dict[str, torch.Tensor], concept: Concept) -> Verdict:
        joint = torch.ones(1)
        for factor in concept.factors:
            one = concept if len(concept.factors) == 1 else load_concept(factor)
            head = self._aliases.get(factor, factor)
            order = [self._heads[head].index(name.replace("_", " ")) for name in one.class_names]
            joint = (joint[:, None] * row[head][order][None, :]).flatten()
        return verdict(
            concept,
            self.name,
            joint.tolist(),
            judgeable=self._judgeable(row, concept),
            min_confidence=self._min_confidence,
        )

    def _judgeable(self, row: dict[str, torch.Tensor], concept: Concept) -> bool:
        if "presence" not in self._heads or not concept.absent:
            return True
        seen = self._heads["presence"][int(row["presence"].argmax())]
        return any(seen in phrase for phrase in concept.present)
