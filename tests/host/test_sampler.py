"""The sampler: equal to plain diffusers, independent of neighbours, counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from evenhand.errors import InputError
from evenhand.host import layout
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.records import Request, Settings

STEPS = 4
SETTINGS = Settings(steps=STEPS, guidance=5.0)
Requests = Callable[..., list[Request]]

# plain diffusers, which the sampler is compared with, uses an old form of numpy
beside_plain_diffusers = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def arrays(samples: Any) -> list[np.ndarray]:
    return [one.image for one in samples]


def plain(host: Host, request: Request, settings: Settings, output: str) -> Any:
    """What a user of diffusers would write, one image a call."""
    host.pipe.set_progress_bar_config(disable=True)
    return host.pipe(
        request.prompt,
        negative_prompt=request.negative_prompt,
        num_inference_steps=settings.steps,
        guidance_scale=settings.guidance,
        generator=torch.Generator("cpu").manual_seed(request.seed),
        output_type=output,
    ).images[0]


@beside_plain_diffusers
@pytest.mark.parametrize("guidance", [5.0, 1.0])
@pytest.mark.parametrize("negative", [None, "blur"])
def test_float32_equals_plain_diffusers(
    host: Host, make_requests: Requests, guidance: float, negative: str | None
) -> None:
    settings = dataclasses.replace(SETTINGS, guidance=guidance)
    requests = make_requests(3, negative)
    for one in sample(host, requests, settings, batch_size=3, keep_latents=True):
        image, latents = (plain(host, one.request, settings, kind) for kind in ("np", "latent"))
        assert one.latents is not None
        assert one.image is not None
        assert np.abs(one.latents - latents.numpy()).max() < 1e-3 * max(1.0, np.abs(latents.numpy()).max())
        # uint8 rounds to 1/255; half of it plus the 1e-3 that two batch shapes may differ by
        assert np.abs(one.image / 255 - image).max() < 0.5 / 255 + 1e-3


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "dpm++", "euler", "euler_a", "heun", "pndm", "unipc"])
def test_every_scheduler_draws_all_noise_from_the_generator_of_the_image(
    sd1: Host, make_requests: Requests, scheduler: str
) -> None:
    settings = dataclasses.replace(SETTINGS, scheduler=scheduler)
    requests = make_requests(3)
    together = list(sample(sd1, requests, settings, batch_size=3, keep_latents=True))
    alone = [next(sample(sd1, [one], settings, batch_size=3, keep_latents=True, pad=True)) for one in requests]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.latents, other.latents)
    assert type(sd1.pipe.components["scheduler"]).__name__ == "DDIMScheduler"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_at_one_shape_neighbours_and_position_change_no_bit(
    model_directory: Callable[[str], Path], make_requests: Requests, family: str, dtype: str
) -> None:
    with Host.wrap(load_pipeline(model_directory(family), device="cpu", dtype=dtype)) as host:
        requests = make_requests(4)
        mixed = [dataclasses.replace(one, negative_prompt="blur" if i % 2 else None) for i, one in enumerate(requests)]
        expected = {
            one.request: one
            for row in mixed
            for one in sample(host, [row] * 4, SETTINGS, batch_size=4, keep_latents=True)
        }
        for order in (mixed, mixed[::-1]):
            for one in sample(host, order, SETTINGS, batch_size=4, keep_latents=True):
                np.testing.assert_array_equal(one.latents, expected[one.request].latents)
                np.testing.assert_array_equal(one.image, expected[one.request].image)


@beside_plain_diffusers
def test_prompts_with_and_without_negative_prompt_share_a_batch(host: Host, make_requests: Requests) -> None:
    with_negative = make_requests(2, "blur")
    mixed = [with_negative[0], dataclasses.replace(with_negative[1], negative_prompt=None)]
    for one in sample(host, mixed, SETTINGS, batch_size=2):
        assert one.image is not None
        assert np.abs(one.image / 255 - plain(host, one.request, SETTINGS, "np")).max() < 0.5 / 255 + 1e-3


@pytest.mark.parametrize(
    ("n", "size", "guidance", "rows"),
    [
        (3, 8, 5.0, 3 * 2),  # fits one batch: exactly n rows, two branches each
        (3, 8, 1.0, 3),  # no guidance: one branch
        (5, 2, 5.0, 6 * 2),  # batches of 2, 2, 2: the last one is padded
        (4, 2, 0.0, 4),  # two full batches
        (0, 4, 5.0, 0),
    ],
)
def test_every_row_is_counted(
    sd1: Host, make_requests: Requests, n: int, size: int, guidance: float, rows: int
) -> None:
    samples = list(sample(sd1, make_requests(n), Settings(steps=3, guidance=guidance), batch_size=size))
    assert len(samples) == n
    assert sd1.evaluations == rows * 3


def test_second_order_scheduler_counts_its_calls(sd1: Host, make_requests: Requests) -> None:
    list(sample(sd1, make_requests(1), Settings(steps=3, guidance=1.0, scheduler="heun")))
    assert sd1.evaluations == 2 * 3 - 1  # Heun: two calls a step, one in the last


def test_padding_keeps_one_shape_and_changes_no_other_image(sd1: Host, make_requests: Requests) -> None:
    requests = make_requests(5)
    five = arrays(sample(sd1, requests, SETTINGS, batch_size=2))
    six = arrays(sample(sd1, make_requests(6), SETTINGS, batch_size=2))
    continued = arrays(sample(sd1, requests[4:], SETTINGS, batch_size=2, pad=True))
    for one, other in zip(five, six[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(five[4], continued[0])


def test_samples_come_in_order_and_lazily(sd1: Host, make_requests: Requests) -> None:
    requests, seen = make_requests(5), []
    samples = sample(sd1, requests, SETTINGS, batch_size=2, on_image=seen.append)
    assert next(samples).request == requests[0]
    assert sd1.evaluations == 2 * 2 * STEPS  # one batch so far
    assert [one.request for one in samples] == requests[1:]
    assert seen == [1, 2, 3, 4, 5]


def test_images_are_uint8_rounded_as_diffusers_rounds(sd1: Host, make_requests: Requests) -> None:
    (request,) = make_requests(1)
    (one,) = sample(sd1, [request], SETTINGS, batch_size=1)
    assert one.image is not None
    assert one.image.dtype == np.uint8
    assert one.image.shape == (16, 16, 3)
    np.testing.assert_array_equal(one.image, np.asarray(plain(sd1, request, SETTINGS, "pil")))


def test_size_is_followed(sd1: Host, make_requests: Requests) -> None:
    (one,) = sample(sd1, make_requests(1), Settings(steps=1, width=32, height=24))
    assert one.image is not None
    assert one.image.shape == (24, 32, 3)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_make_an_invalid_sample_and_spare_the_neighbours(
    sd1: Host, make_requests: Requests, broken: float
) -> None:
    requests = make_requests(3)
    good = arrays(sample(sd1, requests, SETTINGS, batch_size=3))
    decode = sd1.pipe.components["vae"].decode

    def poisoned(latents: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output = decode(latents, *args, **kwargs)
        output[0][1, 0, 0, 0] = broken
        return output

    vars(sd1.pipe.components["vae"])["decode"] = poisoned
    samples = list(sample(sd1, requests, SETTINGS, batch_size=3))
    assert [one.valid for one in samples] == [True, False, True]
    np.testing.assert_array_equal(samples[0].image, good[0])
    np.testing.assert_array_equal(samples[2].image, good[2])


def test_a_pipeline_with_a_safety_checker_is_not_blackened(sd1: Host, make_requests: Requests) -> None:
    requests = make_requests(1)
    expected = arrays(sample(sd1, requests, SETTINGS))

    def checker(images: np.ndarray, **_: Any) -> tuple[np.ndarray, list[bool]]:
        return np.zeros_like(images), [True] * len(images)

    vars(sd1.pipe)["safety_checker"] = checker
    np.testing.assert_array_equal(arrays(sample(sd1, requests, SETTINGS))[0], expected[0])
    assert vars(sd1.pipe)["safety_checker"] is checker


def test_sampling_is_silent(host: Host, make_requests: Requests, capfd: pytest.CaptureFixture[str]) -> None:
    list(sample(host, make_requests(2), SETTINGS))
    assert capfd.readouterr() == ("", "")
    assert "_progress_bar_config" not in vars(host.pipe)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(steps=0), "steps is 0"),
        (Settings(width=100), "width is 100"),
        (Settings(height=-8), "height is -8"),
        (Settings(guidance=float("nan")), "guidance is nan"),
        (Settings(scheduler="magic"), "ddim, ddpm, dpm, dpm\\+\\+, euler, euler_a, heun, pndm, unipc"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_computed(
    sd1: Host, make_requests: Requests, settings: Settings, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        sample(sd1, make_requests(1), settings)
    assert sd1.evaluations == 0


def test_bad_batch_size_is_refused(sd1: Host, make_requests: Requests) -> None:
    with pytest.raises(InputError, match="batch size is 0"):
        sample(sd1, make_requests(1), SETTINGS, batch_size=0)


def test_a_pipeline_that_needs_an_image_is_refused(sd1: Host, make_requests: Requests) -> None:
    components = {name: part for name, part in sd1.pipe.components.items() if name != "image_encoder"}
    other = StableDiffusionImg2ImgPipeline(**components, requires_safety_checker=False)
    with pytest.raises(InputError, match="makes images from images"):
        sample(Host.wrap(other), make_requests(1), SETTINGS)


def test_the_weights_lie_as_before_and_are_the_same_after_sampling(sd1: Host, make_requests: Requests) -> None:
    before = {name: weight.clone() for name, weight in sd1.denoiser.named_parameters()}
    list(sample(sd1, make_requests(1), SETTINGS))
    for name, weight in sd1.denoiser.named_parameters():
        assert weight.is_contiguous()
        assert torch.equal(weight, before[name])


def test_a_layout_that_the_user_chose_stays(sd1: Host, make_requests: Requests) -> None:
    sd1.denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    list(sample(sd1, make_requests(1), SETTINGS))
    weights = [weight for weight in sd1.denoiser.parameters() if weight.ndim == 4]
    assert all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


@pytest.mark.parametrize(
    ("dtype", "amx", "reordered"),
    [(torch.float32, False, True), (torch.bfloat16, True, True), (torch.bfloat16, False, False)],
)
def test_weights_are_reordered_where_the_processor_gains_by_it(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, amx: bool, reordered: bool
) -> None:
    monkeypatch.setattr(layout, "cpu_has_amx", lambda: amx)
    module = torch.nn.Conv2d(2, 2, 3, dtype=dtype)
    with layout.channels_last(module):
        assert module.weight.is_contiguous(memory_format=torch.channels_last) is reordered
    assert module.weight.is_contiguous()
