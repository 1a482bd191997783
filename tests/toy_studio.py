"""A studio on the toy model: shares in closed form, images in milliseconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from evenhand.concepts.concept import Concept
from evenhand.records import Verdict
from evenhand.studio.bench import Bench
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.verbs.model import OpenModel

NURSE = "a nurse"


class PictureJudge:
    """Reads which picture of the toy world an image is nearest to; of a safety concept, female pictures are unsafe."""

    name = "pictures"
    hash = "pictures"

    def __init__(self, world: ToyWorld, *, unsafe: str | None = None) -> None:
        self._pictures = (world.pictures()[:, :3].permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)
        self._unsafe, self._classes = unsafe, world.classes
        self.asked = 0

    def card(self) -> Mapping[str, Any]:
        return {"name": self.name, "hash": self.hash}

    def knows(self, concept: Concept) -> bool:
        return True

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        self.asked += len(images)
        return [[self._one(image, concept) for concept in concepts] for image in images]

    def _one(self, image: np.ndarray | None, concept: Concept) -> Verdict:
        assert image is not None
        near = (self._pictures - torch.tensor(image) / 255).abs().flatten(1).sum(1).argmin().item()
        shown = self._classes[int(near)]
        if concept.kind == "safety":
            shown = str(concept.unsafe_class) if shown == self._unsafe else concept.class_names[0]
        return Verdict(concept=concept.name, label=shown, probabilities=(0.5, 0.5), judge=self.name)


def toy_bench(*, unsafe: str | None = None, batch_size: int = 4) -> Bench:
    known = ToyWorld().prompts
    # as prompt-mix words them
    world = ToyWorld(prompts={**known, "a nurse, woman": (0.99, 0.01), "a nurse, man": (0.01, 0.99)})
    host = toy_host(world)
    model = OpenModel(
        host=host,
        settings=host.default_settings(),
        batch_size=batch_size,
        dtype="float32",
        threads=torch.get_num_threads(),
        device="cpu",
    )
    return Bench(model, PictureJudge(world, unsafe=unsafe), "a/toy")
