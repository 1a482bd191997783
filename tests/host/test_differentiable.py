"""Images as a function of their noise: the value is the pipeline's own, the gradient that of finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from tiny_pipelines import ready

from evenhand.errors import ModelError
from evenhand.host.differentiable import slopes
from evenhand.host.host import Host
from evenhand.host.quiet import without_deprecations
from evenhand.host.runs import Runs, run
from evenhand.testing.toy import ToyWorld, toy_host

WORLD = ToyWorld()
NURSES = ["a nurse"] * 3
NOISES = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def host() -> Iterator[Host]:
    with toy_host(WORLD) as one:
        yield one


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Some number of each image, which depends on every pixel."""
    weights = torch.linspace(-1, 1, images[0].numel()).view(images.shape[1:])
    return (images * weights).flatten(1).sum(dim=1)


def test_values_are_those_of_the_pipeline(host: Host) -> None:
    found = slopes(host, NURSES, NOISES, brightness, steps=6, guidance=1.0)
    images = host.pipe(NURSES, num_inference_steps=6, guidance_scale=1.0, latents=NOISES, output_type="pt").images
    assert torch.equal(found.values, brightness(images))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_gradients_are_those_of_finite_differences(host: Host, guidance: float) -> None:
    found = slopes(host, NURSES, NOISES, brightness, steps=6, guidance=guidance)
    along = torch.randn(NOISES.shape, generator=torch.Generator().manual_seed(2))
    step = 0.02

    def at(by: float) -> torch.Tensor:
        return slopes(host, NURSES, NOISES + by * along, brightness, steps=6, guidance=guidance).values

    wanted = (at(step) - at(-step)) / (2 * step)
    assert torch.allclose((found.gradients * along).flatten(1).sum(dim=1), wanted, rtol=0.05, atol=1e-3)


def test_a_row_counts_forward_again_and_backward(host: Host) -> None:
    slopes(host, NURSES, NOISES, brightness, steps=6, guidance=1.0)
    assert host.evaluations == 3 * 3 * 6
    slopes(host, NURSES, NOISES, brightness, steps=6, guidance=3.0)
    assert host.evaluations == 3 * 3 * 6 * (1 + 2)


def test_the_model_is_left_as_it_was(host: Host) -> None:
    before = host.pipe(NURSES, num_inference_steps=6, latents=NOISES).images
    learning = [one.requires_grad for one in host.denoiser.parameters()]
    slopes(host, NURSES, NOISES, brightness, steps=4, guidance=1.0)
    assert [one.requires_grad for one in host.denoiser.parameters()] == learning
    assert all(one.grad is None for one in host.denoiser.parameters())
    assert torch.equal(host.pipe(NURSES, num_inference_steps=6, latents=NOISES).images, before)


@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux"])
def test_gradients_reach_the_noise_of_every_family(family: str) -> None:
    with Host.wrap(ready(family)) as host, without_deprecations():
        shape = run(host, "a cat", Runs(seeds=(0,), steps=1)).shape[1:]
        noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3))
        found = slopes(host, ["a cat", "a dog"], noise, brightness, steps=2, guidance=1.0)
        plain = host.pipe(
            ["a cat", "a dog"], num_inference_steps=2, guidance_scale=1.0, latents=noise, output_type="pt"
        )
    assert torch.allclose(found.values, brightness(plain.images), atol=1e-3)
    assert found.gradients.shape == noise.shape
    assert (found.gradients.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_what_acts_on_embedded_prompts_leaves_the_unconditional_one(guidance: float) -> None:
    with Host.wrap(ready("sd1")) as host, without_deprecations():
        pipe = host.pipe
        noise = torch.randn(run(host, "a cat", Runs(seeds=(0, 1), steps=1)).shape, generator=torch.manual_seed(3))
        found, plain = (
            slopes(host, ["a cat", "a dog"], noise, brightness, steps=2, guidance=guidance, embed=embed).values
            for embed in (lambda one: 3 * one, None)
        )
        embedded, unconditional = pipe.encode_prompt(["a cat", "a dog"], "cpu", 1, True)
        made = pipe(
            prompt_embeds=3 * embedded,
            negative_prompt_embeds=unconditional,
            num_inference_steps=2,
            guidance_scale=guidance,
            latents=noise,
            output_type="pt",
        )
    assert torch.allclose(found, brightness(made.images), atol=1e-3)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_a_pipeline_that_lets_no_gradient_through_is_said(host: Host) -> None:
    closed = SimpleNamespace(pipe=object())
    with pytest.raises(ModelError, match="cannot be differentiated by its noise"):
        slopes(closed, NURSES, NOISES, brightness, steps=4, guidance=1.0)  # type: ignore[arg-type]
