"""A classifier as a judge: which concepts it knows, what it says of others, and its features."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from evenhand.concepts.concept import Concept, ConceptClass
from evenhand.concepts.library import load_concept
from evenhand.errors import ConceptError
from evenhand.judges.classifier import ClassifierJudge


class Bright(torch.nn.Module):
    """Reads how bright an image is: bright ones are women in a market, dark ones men at a crime scene."""

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        mean = images.mean(dim=(1, 2, 3))
        both = torch.stack([mean, -mean], dim=1)
        return {"gender": both, "scene": both}


HEADS = {"gender": ["female", "male"], "scene": ["market", "crime_scene"]}
IMAGES = [np.full((4, 4, 3), level, np.uint8) for level in (250, 3)]


def judge() -> ClassifierJudge:
    return ClassifierJudge(Bright(), HEADS, size=4, features=torch.nn.Flatten(), aliases={"contexts": "scene"})


def test_a_concept_with_a_class_of_no_head_is_not_known() -> None:
    gender = load_concept("gender")
    more = dataclasses.replace(gender, classes=(*gender.classes, ConceptClass(name="robot", phrases=("a robot",))))
    assert judge().knows(gender)
    assert not judge().knows(more)
    with pytest.raises(ConceptError, match="does not know the class 'robot' of gender, only female, male"):
        judge().judge(IMAGES, [more])
    with pytest.raises(ConceptError, match="cannot judge 'skin'; it knows gender, scene"):
        judge().judge(IMAGES, [load_concept("skin")])


def test_a_head_reads_a_concept_of_another_name_and_spelling() -> None:
    rows = tuple(ConceptClass(name=name, phrases=(name,)) for name in ("crime scene", "market"))
    contexts = Concept(name="contexts", classes=rows)
    assert judge().knows(contexts)
    assert [one[0].label for one in judge().judge(IMAGES, [contexts])] == ["market", "crime scene"]


def test_features_are_unit_vectors_of_what_the_heads_read() -> None:
    first, none, second = judge().image_features([IMAGES[0], None, IMAGES[1]])
    assert none is None
    assert first is not None
    assert second is not None
    # all of an image is one value above, or below, the middle: (1, ..., 1) / sqrt(48) and its opposite
    assert torch.allclose(first, torch.full((48,), 48**-0.5))
    assert torch.allclose(second, -first)
    assert ClassifierJudge(Bright(), HEADS, size=4).image_features(IMAGES) == [None, None]
