"""What a judge's differentiable scores say is what its verdicts say, and gradients reach the pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from evenhand.concepts.library import load_concept
from evenhand.judges.base import Differentiable, resized
from evenhand.judges.load import load_judge

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("name", ["convnet", "clip"])
def test_they_are_the_verdicts(name: str) -> None:
    judge: Any = load_judge(name)
    concept = load_concept("skin")
    known: object = judge
    assert isinstance(known, Differentiable)
    pixels = PIXELS.clone().requires_grad_(True)
    logits = judge.class_logits(pixels, concept)
    wanted = [rows[0].probabilities for rows in judge.judge(list(IMAGES), [concept])]
    assert torch.softmax(logits, dim=1).tolist() == [pytest.approx(one, abs=2e-3) for one in wanted]
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


def test_other_sizes_are_resized_as_pil_does() -> None:
    smooth = torch.nn.functional.interpolate(PIXELS, (16, 16), mode="area")
    picture = (smooth[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    wanted = np.asarray(Image.fromarray(picture).resize((24, 24), Image.Resampling.BICUBIC)) / 255
    found = resized(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255, 24)[0].permute(1, 2, 0)
    assert np.abs(found.numpy() - wanted).max() < 0.02
    assert resized(PIXELS, 64) is PIXELS
