"""On a GPU: the same images and verdicts as on a CPU, every shipped intervention, and bits that come back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evenhand import Host, Request, load_concept, load_judge, load_pipeline, sample
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.verbs.arm import plan_arm
from evenhand.verbs.defaults import read_card
from evenhand.watch import Silent

pytestmark = pytest.mark.gpu
REQUESTS = [
    Request(row=row, prompt=f"a photo of a {row}", index=k, seed=100 + k)
    for row in ("nurse", "mechanic")
    for k in range(16)
]
SPECS = (
    "concept-vector:concept=gender",
    "noise-direction:concept=gender",
    "stereotype-corrector:concept=gender",
    "population-preference:concept=gender",
    "embedding-projection:concept=gender",
    "prompt-mix:concept=gender",
    "safe-guidance:preset=strong",
    "safe-guidance:preset=balanced,schedule=fast",
    "sega",
)


@pytest.fixture(scope="module")
def host():
    with Host.wrap(load_pipeline(MODEL_DIRECTORY, device="cuda", dtype="float32"), name="skewville") as found:
        yield found


def _images(host: Host) -> list[np.ndarray]:
    made = sample(host, REQUESTS, host.default_settings(), batch_size=16)
    return [one.image for one in made]


def test_the_same_pictures_and_verdicts_as_on_a_cpu(host: Host) -> None:
    concepts = [load_concept(name) for name in ("gender", "skin", "age", "glasses")]
    with Host.wrap(load_pipeline(MODEL_DIRECTORY, device="cpu", dtype="float32"), name="skewville") as here:
        by_cpu = _images(here)
    by_gpu = _images(host)
    # the last digit of a sum over 25 steps: single levels of 255
    assert np.abs(np.stack(by_cpu).astype(int) - np.stack(by_gpu).astype(int)).mean() < 1.0
    for name in ("clip", "convnet"):
        there = [
            [[one.label for one in row] for row in load_judge(name, where).judge(images, concepts)]
            for where, images in ((host.device, by_gpu), ("cpu", by_cpu))
        ]
        same = [a == b for one, other in zip(*there, strict=True) for a, b in zip(one, other, strict=True)]
        assert np.mean(same) >= 0.98


def test_a_judge_gives_the_same_gradient(host: Host) -> None:
    concept, images = load_concept("gender"), torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = []
    for where in ("cpu", "cuda"):
        pixels = images.to(where).requires_grad_(True)
        logits = load_judge("convnet", where).class_logits(pixels, concept)
        (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
        found.append((logits.detach().cpu(), gradient.cpu()))
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("spec", SPECS)
def test_an_intervention_acts_and_leaves_nothing_behind(host: Host, spec: str) -> None:
    plain = _images(host)
    arm = plan_arm([spec], read_card("skewville"), (), 0).build(host, None, Silent())
    with arm.attached(host):
        steered = _images(host)
    assert any((one != other).any() for one, other in zip(plain, steered, strict=True))
    assert all((one == other).all() for one, other in zip(plain, _images(host), strict=True))
