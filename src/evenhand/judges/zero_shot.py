"""Zero-shot judging with any CLIP model: an image is compared with the phrases of a concept's classes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import concept_names, load_concept
from evenhand.records import Verdict

from .base import invalid, resized, verdict


class ZeroShotJudge:
    """Softmax of the scaled cosines between an image and the phrases of each class.

    The model's own logit scale is applied: without it the softmax of raw cosines is nearly even. The phrases
    of one class are averaged as unit vectors (Radford et al. 2021, arXiv:2103.00020, section 3.1.4). Where a
    concept has `absent` phrases, an image that is nearest to one of them gives no verdict.

    Args:
        model: a CLIPModel in float32.
        tokenizer, processor: those of the model.
        name: how results call this judge.
        min_confidence: the least probability of the winning class, from 0 (off: never abstains for this reason) to 1.
        batch_size: images per forward; padded, so that one image's verdict does not depend on the others.
        facts: more entries for the card, such as a confusion matrix.
    """

    def __init__(
        self,
        model: CLIPModel,
        tokenizer: CLIPTokenizer,
        processor: CLIPImageProcessor,
        *,
        name: str = "clip",
        min_confidence: float = 0.0,
        batch_size: int = 32,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._model = model.eval()
        self._tokenizer, self._processor = tokenizer, processor
        self.name = name
        self._min_confidence, self._batch_size = min_confidence, batch_size
        self._facts = dict(facts or {})
        self._texts: dict[str, torch.Tensor] = {}
        self._hash = ""
        vision: Any = model.config.vision_config
        self._side: int = vision.image_size

    @property
    def hash(self) -> str:
        """SHA-256 over the weights and the settings."""
        if not self._hash:
            digest = hashlib.sha256(f"zero-shot {self._min_confidence}".encode())
            for key, value in sorted(self._model.state_dict().items()):
                digest.update(key.encode() + value.detach().cpu().contiguous().numpy().tobytes())
            self._hash = digest.hexdigest()
        return self._hash

    def card(self) -> Mapping[str, Any]:
        return {"name": self.name, "hash": self.hash, "kind": "zero-shot CLIP", **self._facts}

    def knows(self, concept: Concept) -> bool:
        return True

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        features = self.image_features(images)
        return [
            [invalid(concept, self.name) if row is None else self._verdict(row, concept) for concept in concepts]
            for row in features
        ]

    def text_image_score(self, images: Sequence[np.ndarray | None], texts: Sequence[str]) -> list[float | None]:
        """Cosine of each image with its own text; None for an invalid image."""
        vectors = self.text_features(texts)
        rows = self.image_features(images)
        return [None if row is None else float(row @ vector) for row, vector in zip(rows, vectors, strict=True)]

    @torch.no_grad()
    def image_features(self, images: Sequence[np.ndarray | None]) -> list[torch.Tensor | None]:
        """Unit image vectors, None where the image is None."""
        valid = [image for image in images if image is not None]
        rows: list[torch.Tensor] = []
        for start in range(0, len(valid), self._batch_size):
            chunk = valid[start : start + self._batch_size]
            padded = [*chunk, *[chunk[-1]] * (self._batch_size - len(chunk))]
            pixels = self._processor([Image.fromarray(image) for image in padded], return_tensors="pt").pixel_values
            pooled = self._model.vision_model(pixels.to(self._model.device)).pooler_output
            vectors = torch.nn.functional.normalize(self._model.visual_projection(pooled), dim=-1)
            rows.extend(vectors[: len(chunk)].cpu())
        found = iter(rows)
        return [None if image is None else next(found) for image in images]

    @torch.no_grad()
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit text vectors, shape (n, d); each text is encoded alone, so that no other changes it."""
        for text in texts:
            if text not in self._texts:
                tokens = self._tokenizer(text, padding="max_length", truncation=True, return_tensors="pt")
                pooled = self._model.text_model(tokens.input_ids.to(self._model.device)).pooler_output
                vector = torch.nn.functional.normalize(self._model.text_projection(pooled), dim=-1)
                self._texts[text] = vector[0].cpu()
        return torch.stack([self._texts[text] for text in texts])

    def class_logits(self, images: torch.Tensor, concept: Concept) -> torch.Tensor:
        """Scaled cosines, (n, classes); gradients flow to the images (n, 3, height, width), 0 to 1."""
        mean, spread = (
            torch.tensor(one).to(images)[:, None, None]
            for one in (self._processor.image_mean, self._processor.image_std)
        )
        pixels = ((resized(images, self._side) - mean) / spread).to(self._model.device)
        pooled = self._model.vision_model(pixels).pooler_output
        rows = torch.nn.functional.normalize(self._model.visual_projection(pooled), dim=-1)
        vectors = torch.stack([self.text_features(one.phrases).mean(dim=0) for one in concept.classes])
        vectors = torch.nn.functional.normalize(vectors, dim=-1).to(rows)
        return self._model.logit_scale.detach().exp() * rows @ vectors.T

    def _verdict(self, row: torch.Tensor, concept: Concept) -> Verdict:
        return verdict(
            concept,
            self.name,
            self._probabilities(row, concept),
            judgeable=self._judgeable(row, concept),
            min_confidence=self._min_confidence,
        )

    def _probabilities(self, row: torch.Tensor, concept: Concept) -> list[float]:
        if len(concept.factors) > 1 and set(concept.factors) <= set(concept_names()):
            # the factors of a joint are judged on their own and multiplied; one from a file has joint phrases only
            joint = torch.ones(1)
            for factor in concept.factors:
                part = torch.tensor(self._probabilities(row, load_concept(factor)))
                joint = (joint[:, None] * part[None, :]).flatten()
            return joint.tolist()
        vectors = torch.stack([self.text_features(one.phrases).mean(dim=0) for one in concept.classes])
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        scale = float(self._model.logit_scale.detach().exp())
        return torch.softmax(scale * (vectors @ row), dim=0).tolist()

    def _judgeable(self, row: torch.Tensor, concept: Concept) -> bool:
        if not concept.absent:
            return True
        present = float((self.text_features(concept.present) @ row).max())
        return present >= float((self.text_features(concept.absent) @ row).max())
