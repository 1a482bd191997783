"""What the user asks is checked when it is said."""

from __future__ import annotations

import pytest
from scipy.stats import binomtest

from evenhand.errors import InputError
from evenhand.metrics.sequences import images_for_sequence
from evenhand.verbs.config import (
    Effort,
    GenerateConfig,
    ImageOptions,
    ModelOptions,
    Question,
    half_width_at,
    images_for,
)


def wilson_half_width(n: int) -> float:
    interval = binomtest(n // 2, n).proportion_ci(method="wilson")
    return (interval.high - interval.low) / 2


@pytest.mark.parametrize("n", [2, 8, 50, 100, 1000])
def test_the_half_width_is_that_of_wilsons_interval_at_one_half(n: int) -> None:
    assert half_width_at(n) == pytest.approx(wilson_half_width(n), abs=1e-12)


@pytest.mark.parametrize(
    # 1.95996^2 = 3.84146; / (4 x .05^2) = 384.146; - 3.84146 = 380.30, hence 381
    ("precision", "images"),
    [(0.05, 381), (0.1, 93), (0.025, 1533), (0.49, 1)],
)
def test_images_for_a_precision(precision: float, images: int) -> None:
    assert images_for(precision) == images
    assert Effort(precision=precision, paired=True).images == images
    assert not Effort(precision=precision, paired=True).stops


def test_an_audit_that_stops_at_a_precision_has_images_for_a_share_of_one_half() -> None:
    # two classes need 1,359; ten at once, each at the level 1 - .05 / 10, need 1,848
    assert images_for_sequence(0.05) == 1359
    assert Effort(precision=0.05).stops
    assert Effort(precision=0.05).images == images_for_sequence(0.05, 0.995) == 1848


@pytest.mark.parametrize("precision", [0.011, 0.05, 0.1, 0.2, 0.3])
def test_one_image_fewer_would_not_do(precision: float) -> None:
    assert half_width_at(images_for(precision)) <= precision < half_width_at(images_for(precision) - 1)


def test_images_by_default_are_enough_to_find_fair() -> None:
    assert Effort().images == 100
    assert Effort(images_per_prompt=7).images == 7


@pytest.mark.parametrize("wrong", [0, -1])
def test_numbers_below_one_are_refused(wrong: int) -> None:
    with pytest.raises(InputError, match=r"--images-per-prompt .*: expected a whole number of 1 or more"):
        Effort(images_per_prompt=wrong)
    with pytest.raises(InputError, match="--limit"):
        Question(concepts=("gender",), limit=wrong)
    with pytest.raises(InputError, match="--batch-size"):
        ModelOptions(batch_size=wrong)
    with pytest.raises(InputError, match="--steps"):
        ImageOptions(steps=wrong)
    with pytest.raises(InputError, match="-n"):
        GenerateConfig(source="x", prompt="a photo", images=wrong)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_is_refused_before_anything_is_loaded(seed: int) -> None:
    said = rf"^--seed {seed}: expected a whole number from 0 to 2\^63$"
    with pytest.raises(InputError, match=said):
        Effort(seed=seed)
    with pytest.raises(InputError, match=said):
        GenerateConfig(source="x", prompt="a photo", seed=seed)
    assert Effort(seed=2**63 - 1).seed == 2**63 - 1


@pytest.mark.parametrize("precision", [0.0, -0.1, 0.5, 1.0, float("nan")])
def test_a_precision_is_between_zero_and_one_half(precision: float) -> None:
    with pytest.raises(InputError, match="--precision"):
        Effort(precision=precision)


def test_images_and_precision_together_are_refused() -> None:
    with pytest.raises(InputError, match="give one of them"):
        Effort(images_per_prompt=5, precision=0.1)


@pytest.mark.parametrize("guidance", [-1.0, float("nan"), float("inf")])
def test_guidance_is_a_number(guidance: float) -> None:
    with pytest.raises(InputError, match="--guidance"):
        ImageOptions(guidance=guidance)


@pytest.mark.parametrize("size", [(0, 64), (65, 64), (64, -8)])
def test_sizes_are_multiples_of_eight(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="expected two multiples of 8"):
        ImageOptions(size=size)


def test_something_is_measured_and_only_once() -> None:
    with pytest.raises(InputError, match="nothing to measure"):
        Question()
    with pytest.raises(InputError, match="given twice"):
        Question(concepts=("gender", "skin", "gender"))


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_are_those_that_torch_takes(seed: int) -> None:
    with pytest.raises(InputError, match="--seed"):
        GenerateConfig(source="x", prompt="a photo", seed=seed)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InputError, match="the prompt is empty"):
        GenerateConfig(source="x", prompt="  ")
