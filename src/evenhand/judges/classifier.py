"""Judging with a classifier that has one head per concept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.errors import ConceptError
from evenhand.records import Verdict

from .base import invalid, verdict


class ClassifierJudge:
    """Softmax over the head of a concept; abstains where the head `presence` sees something else.

    Args:
        model: images in [-1, 1], shape (n, 3, size, size), to logits per head.
        heads: head name to its class names, in the order of the logits.
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
        name: str = "convnet",
        size: int = 64,
        min_confidence: float = 0.0,
        batch_size: int = 64,
    ) -> None:
        self._model = model.eval()
        self._heads = {key: tuple(value) for key, value in heads.items()}
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
        return all(factor in self._heads for factor in concept.factors)

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        for concept in concepts:
            for factor in concept.factors:
                if factor not in self._heads:
                    known = ", ".join(sorted(self._heads))
                    raise ConceptError(
                        f"judge {self.name}: cannot judge {factor!r}; it knows {known}; name another --judge"
                    )
        rows = self._probabilities(images)
        return [
            [invalid(one, self.name) if row is None else self._verdict(row, one) for one in concepts] for row in rows
        ]

    @torch.no_grad()
    def _probabilities(self, images: Sequence[np.ndarray | None]) -> list[dict[str, torch.Tensor] | None]:
        valid = [self._fitted(image) for image in images if image is not None]
        rows: list[dict[str, torch.Tensor]] = []
        for start in range(0, len(valid), self._batch_size):
            chunk = valid[start : start + self._batch_size]
            padded = np.stack([*chunk, *[chunk[-1]] * (self._batch_size - len(chunk))])
            pixels = torch.from_numpy(padded).permute(0, 3, 1, 2).float() / 127.5 - 1
            shares = {name: torch.softmax(logits, dim=1) for name, logits in self._model(pixels).items()}
            rows.extend({name: values[i] for name, values in shares.items()} for i in range(len(chunk)))
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
            order = [self._heads[factor].index(name) for name in one.class_names]
            joint = (joint[:, None] * row[factor][order][None, :]).flatten()
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
