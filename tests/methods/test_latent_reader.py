"""What is read from final latents where no judge knows a concept, on latents whose classes are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evenhand.methods.latent_reader import LatentReader
from evenhand.records import Request, Sample

BEACH, OFFICE, STREET = (torch.eye(3).repeat_interleave(8, 1)[k] * 8 for k in range(3))


def around(middle: torch.Tensor, count: int = 24, seed: int = 0) -> torch.Tensor:
    return middle + torch.randn(count, 24, generator=torch.Generator().manual_seed(seed))


def read(reader: LatentReader, latents: torch.Tensor) -> list[str | None]:
    request, image = Request(row="", prompt="", index=0, seed=0), np.zeros((2, 2, 3), np.uint8)
    return reader.read([Sample(request=request, image=image, latents=one.numpy()) for one in latents])


def test_an_image_is_of_the_class_that_it_is_nearest_to() -> None:
    reader = LatentReader({"beach": around(BEACH), "office": around(OFFICE, seed=1)})
    assert read(reader, around(BEACH, 50, 2)).count("beach") >= 48
    assert read(reader, around(OFFICE, 50, 3)).count("office") >= 48


def test_a_picture_may_show_none_of_the_classes() -> None:
    known = {"beach": around(BEACH), "office": around(OFFICE, seed=1)}
    reader = LatentReader(known, torch.cat([around(STREET, 12, 2), around(OFFICE, 12, 3)]))
    assert reader.knows_none
    assert read(reader, around(STREET, 50, 3)).count(None) >= 48
    assert read(reader, around(OFFICE, 50, 4)).count("office") >= 48
    assert read(reader, around(BEACH + 0.5, 50, 5)).count("beach") >= 48  # a little unlike is like enough


def test_none_is_no_answer_where_plain_pictures_are_of_the_classes() -> None:
    # a person has glasses or has none
    known = {"with": around(BEACH), "without": around(OFFICE, seed=1)}
    mixture = torch.cat([around(BEACH, 12, 2), around(OFFICE, 12, 3)])
    for reader in (LatentReader(known), LatentReader(known, torch.cat([mixture, around(STREET, 6, 4)]))):
        assert not reader.knows_none
        assert read(reader, mixture) == ["with"] * 12 + ["without"] * 12
        assert None not in read(reader, around(STREET, 12, 5))


def test_of_three_images_of_a_class_nobody_knows_how_far_they_spread() -> None:
    few = {"beach": around(BEACH, 3), "office": around(OFFICE, 3, seed=1)}
    assert not LatentReader(few, around(STREET)).knows_none


def test_invalid_images_have_no_class_and_latents_are_needed() -> None:
    reader = LatentReader({"a": around(BEACH), "b": around(OFFICE)})
    request = Request(row="", prompt="", index=0, seed=0)
    assert reader.read([Sample(request=request, image=None)]) == [None]
    with pytest.raises(ValueError, match="keep_latents"):
        reader.read([Sample(request=request, image=np.zeros((2, 2, 3), np.uint8))])
