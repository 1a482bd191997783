"""Vectors at an activation, and who gets which."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from evenhand.errors import InputError, ModelError
from evenhand.host.noise_level import NoiseLevel
from evenhand.host.sites import Call, Step
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.interventions.assignment import Assignment
from evenhand.interventions.window import Window
from evenhand.records import Request


def step(index: int = 0) -> Step:
    level = NoiseLevel(alpha=0.6, sigma=0.8, prediction="epsilon")
    return Step(index=index, total=10, timestep=500.0, after=400.0, level=level, guidance=2.0)


def shift(weights: list[dict[str, float]], shape: tuple[int, ...] = (3,), **more: Any) -> ActivationShift:
    size = torch.Size(shape).numel()
    bank = VectorBank(
        module="mid_block",
        vectors={"one": torch.arange(1.0, size + 1).view(shape), "two": torch.full(shape, 10.0)},
    )
    return ActivationShift(name="mine", bank=bank, weights=lambda call: weights, **more)


def applied(one: ActivationShift, output: torch.Tensor, index: int = 0) -> torch.Tensor:
    effect = one.begin(Call(prompts=None, images=len(output)))
    assert effect is not None
    return effect.shift(step(index), output)


def test_every_row_gets_its_own_vectors() -> None:
    output = torch.zeros(3, 3, 2, 2)
    found = applied(shift([{"one": 1.0}, {}, {"one": 2.0, "two": -1.0}]), output)
    # (1, 2, 3), nothing, and 2 (1, 2, 3) - (10, 10, 10), at every place
    assert found[:, :, 0, 0].tolist() == [[1, 2, 3], [0, 0, 0], [-8, -6, -4]]
    assert torch.equal(found, found[:, :, :1, :1].expand_as(found))


def test_in_a_transformer_the_channels_come_last() -> None:
    found = applied(shift([{"one": 1.0}]), torch.zeros(1, 5, 3))
    assert found[0].tolist() == [[1, 2, 3]] * 5


def test_a_vector_of_every_place_is_tied_to_the_image_size() -> None:
    tied = shift([{"two": 1.0}], shape=(3, 2, 2))
    assert torch.equal(applied(tied, torch.zeros(1, 3, 2, 2)), torch.full((1, 3, 2, 2), 10.0))
    with pytest.raises(ModelError, match=r"fitted at \(2, 2\) places, mid_block has \(4, 4\)"):
        applied(tied, torch.zeros(1, 3, 4, 4))


def test_strength_scales_and_a_row_without_weights_keeps_its_bits() -> None:
    output = torch.randn(2, 3, 2, 2)
    half = applied(shift([{"two": 1.0}, {}]).scaled(0.5), output)
    assert torch.allclose(half[0], output[0] + 5.0)
    assert torch.equal(half[1], output[1])


def test_the_window_bounds_the_steps() -> None:
    windowed = shift([{"two": 1.0}], window=Window(start=0.2, stop=0.5))
    moved = [index for index in range(10) if applied(windowed, torch.zeros(1, 3, 1, 1), index).any()]
    assert moved == [2, 3, 4]


def test_what_was_fitted_elsewhere_is_refused_in_words() -> None:
    with pytest.raises(ModelError, match="3 channels, mid_block gives 8"):
        applied(shift([{"one": 1.0}]), torch.zeros(1, 8, 2, 2))
    with pytest.raises(InputError, match="no vector 'three'; there is one, two"):
        applied(shift([{"three": 1.0}]), torch.zeros(1, 3, 2, 2))
    with pytest.raises(InputError, match="one shape for all"):
        VectorBank(module="mid_block", vectors={"one": torch.zeros(3), "two": torch.zeros(4)})


def test_nobody_is_shifted_where_nobody_has_a_weight() -> None:
    assert shift([{}, {}]).begin(Call(prompts=None, images=2)) is None


def request(row: str, index: int) -> Request:
    return Request(row=row, prompt=f"a {row}", index=index, seed=index)


def test_the_class_of_an_image_does_not_depend_on_its_batch() -> None:
    assignment = Assignment(target={"female": 0.5, "male": 0.5}, seed=3)
    requests = tuple(request("nurse", index) for index in range(8))
    whole = assignment.classes(Call(prompts=None, images=8, requests=requests))
    halves = [
        name
        for part in (requests[:3], requests[3:])
        for name in assignment.classes(Call(prompts=None, images=len(part), requests=part))
    ]
    assert whole == halves
    assert whole.count("female") == 4


def test_by_hand_the_images_of_a_prompt_are_numbered_in_order() -> None:
    assignment = Assignment(target={"female": 0.25, "male": 0.75}, seed=1)
    prompts = ("a nurse", "a doctor") * 4
    found = assignment.classes(Call(prompts=prompts, images=8))
    for prompt in ("a nurse", "a doctor"):
        classes = [name for name, text in zip(found, prompts, strict=True) if text == prompt]
        assert classes.count("female") == 1
    with_requests = Call(prompts=None, images=4, requests=tuple(request("a nurse", index) for index in range(4)))
    assert assignment.classes(with_requests) == [
        name for name, text in zip(found, prompts, strict=True) if text == "a nurse"
    ]
