"""Pinning: the coordinate of an image along a concept's axes is set to where a class lies."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import InputError, ModelError
from evenhand.host.noise_level import NoiseLevel
from evenhand.host.sites import Call, Step
from evenhand.interventions.activation_pin import ActivationPin, Landmarks, Pinned
from evenhand.interventions.widening import Widening, at_timestep
from evenhand.interventions.window import Window
from evenhand.testing.laws import check_intervention
from evenhand.testing.toy import ToyWorld, shares_of, toy_host


def step(timestep: float = 500.0, index: int = 0) -> Step:
    level = NoiseLevel(alpha=0.6, sigma=0.8, prediction="epsilon")
    return Step(index=index, total=10, timestep=timestep, after=timestep - 100, level=level, guidance=2.0)


def landmarks(axes: torch.Tensor, levels: dict[str, list[list[float]]], **more: Any) -> Landmarks:
    moments = len(next(iter(levels.values())))
    times = torch.linspace(1000, 0, moments) if moments > 1 else torch.tensor([500.0])
    return Landmarks(
        module="mid_block",
        axes=axes,
        timesteps=times,
        levels={name: torch.tensor(level) for name, level in levels.items()},
        **more,
    )


def applied(
    marks: dict[str, Landmarks], pins: Sequence[Sequence[Pinned]], output: torch.Tensor, at: Step | None = None
) -> torch.Tensor:
    one = ActivationPin(name="pin", landmarks=marks, pins=lambda call: pins)
    effect = one.begin(Call(prompts=None, images=len(output)))
    assert effect is not None
    return effect.shift(at or step(), output)


def pinned(concept: str, name: str, strength: float = 1.0) -> tuple[Pinned, ...]:
    return (Pinned(concept=concept, name=name, strength=strength),)


GENDER = landmarks(torch.tensor([[2.0, 0.0, 0.0]]), {"female": [[1.5]], "male": [[-0.5]]})


def test_the_coordinate_becomes_that_of_the_class_and_the_rest_stays() -> None:
    output = torch.tensor([[0.4, 7.0, 8.0], [0.4, 7.0, 8.0]])
    found = applied({"gender": GENDER}, [pinned("gender", "female"), pinned("gender", "male")], output)
    # in units of the axis (2, 0, 0): .2 before, 1.5 and -.5 after
    assert torch.allclose(found, torch.tensor([[3.0, 7.0, 8.0], [-1.0, 7.0, 8.0]]))


@pytest.mark.parametrize(
    ("strength", "coordinate"),
    # from 0: half of the way to 1.5; then from the middle of the classes, .5, twice and four times as far as 1.5
    [(0.5, 0.75), (1.0, 1.5), (2.0, 2.5), (4.0, 4.5)],
)
def test_strength_moves_a_part_of_the_way_and_then_beyond(strength: float, coordinate: float) -> None:
    found = applied({"gender": GENDER}, [pinned("gender", "female", strength)], torch.zeros(1, 3))
    assert found[0, 0].item() == pytest.approx(2 * coordinate)


def test_a_class_in_the_middle_stays_there_at_any_strength() -> None:
    skin = landmarks(torch.tensor([[1.0, 0.0]]), {"light": [[-3.0]], "medium": [[0.0]], "dark": [[3.0]]})
    for strength in (1.0, 5.0):
        found = applied({"skin": skin}, [pinned("skin", "medium", strength)] * 2, torch.tensor([[-3.0, 1], [2.0, 1]]))
        assert torch.allclose(found, torch.tensor([[0.0, 1], [0.0, 1]]))


@pytest.mark.parametrize(("weight", "coordinate"), [(1.0, 1.5), (0.75, 1.0), (0.5, 0.5), (0.0, -0.5), (1.5, 2.5)])
def test_a_mixture_lies_between_its_classes_or_beyond_them(weight: float, coordinate: float) -> None:
    # weight 1.5 + (1 - weight) (-.5)
    found = applied({"gender": GENDER}, [pinned("gender", f"female:{weight}+male:{1 - weight}")], torch.zeros(1, 3))
    assert found[0, 0].item() == pytest.approx(2 * coordinate)


def test_levels_are_interpolated_between_the_moments() -> None:
    marks = landmarks(torch.tensor([[1.0]]), {"a": [[0.0], [10.0], [30.0]], "b": [[0.0]] * 3})
    for timestep, level in ((1000, 0), (999, 0.02), (750, 5), (500, 10), (250, 20), (0, 30)):
        found = applied({"x": marks}, [pinned("x", "a")], torch.zeros(1, 1), step(timestep))
        assert found.item() == pytest.approx(level, abs=1e-4)


def test_one_sided_only_lowers() -> None:
    safe = landmarks(torch.eye(2), {"safe": [[1.0, 1.0]]}, one_sided=True)
    found = applied({"unsafe": safe}, [pinned("unsafe", "safe")], torch.tensor([[5.0, -5.0]]))
    assert found.tolist() == [[1.0, -5.0]]


@given(st.floats(-0.9, 0.9), st.floats(-3, 3), st.floats(-3, 3))
def test_two_concepts_on_oblique_axes_both_reach_their_class(cosine: float, first: float, second: float) -> None:
    axes = torch.tensor([[1.0, 0.0], [cosine, math.sqrt(1 - cosine**2)]])
    marks = {
        "one": landmarks(axes[:1], {"a": [[first]], "b": [[0.0]]}),
        "two": landmarks(axes[1:], {"a": [[second]], "b": [[0.0]]}),
    }
    pins = [(*pinned("one", "a"), *pinned("two", "a"))]
    found = applied(marks, pins, torch.tensor([[0.3, -0.7]]))
    assert torch.allclose(found[0], first * axes[0] + second * axes[1], atol=1e-4)
    # and pinning one alone leaves the other's coordinate where it was
    alone = applied(marks, [pinned("one", "a")], torch.tensor([[0.3, -0.7]]))
    dual = torch.linalg.solve(axes @ axes.T, axes)
    assert (dual @ alone[0])[1].item() == pytest.approx((dual @ torch.tensor([0.3, -0.7]))[1].item(), abs=1e-4)


def test_channel_axes_read_the_mean_over_places_and_shift_all_of_them() -> None:
    output = torch.tensor([[[[1.0, 3.0]], [[5.0, 5.0]]]])  # one image, two channels, 1 x 2 places
    marks = landmarks(torch.tensor([[1.0, 0.0]]), {"a": [[10.0]], "b": [[0.0]]})
    found = applied({"x": marks}, [pinned("x", "a")], output)
    assert found.tolist() == [[[[9.0, 11.0]], [[5.0, 5.0]]]]


def test_an_image_without_pins_keeps_its_bits_and_windows_hold() -> None:
    output = torch.randn(2, 3, dtype=torch.bfloat16)
    found = applied({"gender": GENDER}, [(), pinned("gender", "male")], output)
    assert torch.equal(found[0], output[0])
    assert not torch.equal(found[1], output[1])
    one = ActivationPin(
        name="pin",
        landmarks={"gender": GENDER},
        pins=lambda call: [pinned("gender", "male")] * 2,
        window=Window(start=5),
    )
    effect = one.begin(Call(prompts=None, images=2))
    assert effect is not None
    assert torch.equal(effect.shift(step(index=4), output), output)
    assert not torch.equal(effect.shift(step(index=5), output), output)
    assert [one["pins"] for one in effect.evidence()] == [{"gender": ["male", 1.0]}] * 2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="levels"):
        landmarks(torch.eye(2), {"a": [[1.0]]})
    with pytest.raises(InputError, match="no landmarks of gender for 'other'"):
        applied({"gender": GENDER}, [pinned("gender", "other")], torch.zeros(1, 3))
    with pytest.raises(ModelError, match="3 channels, mid_block gives 4"):
        applied({"gender": GENDER}, [pinned("gender", "male")], torch.zeros(1, 4))
    elsewhere = Landmarks(module="up", axes=GENDER.axes, timesteps=GENDER.timesteps, levels=GENDER.levels)
    with pytest.raises(InputError, match="expected one module"):
        ActivationPin(name="pin", landmarks={"a": GENDER, "b": elsewhere}, pins=lambda call: [])
    tied = landmarks(torch.ones(1, 3, 2, 2), {"a": [[1.0]], "b": [[0.0]]})
    with pytest.raises(ModelError, match=r"fitted at \(2, 2\) places"):
        applied({"x": tied}, [pinned("x", "a")], torch.zeros(1, 3, 4, 4))


TOY = landmarks(torch.tensor([[1.0, -1.0]]), {"female": [[1.0], [1.0]], "male": [[-1.0], [-1.0]]})


def toy_pin(name: str = "female", strength: float = 1.0) -> ActivationPin:
    pins = pinned("gender", name)
    return ActivationPin(
        name="pin", landmarks={"gender": TOY}, pins=lambda call: [pins] * call.images, strength=strength
    )


def test_it_obeys_the_laws() -> None:
    check_intervention(toy_pin)


@pytest.mark.parametrize("prompt", ["a nurse", "a mechanic"])
def test_the_toy_shows_the_share_of_the_closed_form(prompt: str) -> None:
    # the middle block holds log shares (a, b); pinned to 1 along (1, -1) / 2 their difference is 2, whatever it was
    with toy_host() as host, host.attached(toy_pin()) as call:
        rng = torch.Generator().manual_seed(3)
        latents = call(prompt, num_inference_steps=30, num_images_per_prompt=1500, generator=rng).images
    assert shares_of(latents, ToyWorld())[0] == pytest.approx(1 / (1 + math.exp(-2)), abs=0.03)


COUNTERED = landmarks(
    torch.tensor([[2.0, 0.0, 0.0]]),
    {"female": [[1.5]], "male": [[-0.5]]},
    counters={"female": torch.tensor([0.0, 3.0, 0.0])},
)


@pytest.mark.parametrize(
    ("name", "strength", "found"),
    [
        ("female", 1.0, [3.0, -4.5, 0.0]),  # moved by 1.5 axes, so 1.5 x 3 is taken off
        ("female", 0.5, [1.5, -2.25, 0.0]),
        ("male", 1.0, [-1.0, 0.0, 0.0]),  # this class has none
        ("female:0.75+male:0.25", 1.0, [2.0, -2.25, 0.0]),  # 1 axis, of .75 x 3
    ],
)
def test_a_counter_goes_along_as_far_as_the_image_is_moved(name: str, strength: float, found: list[float]) -> None:
    assert applied({"gender": COUNTERED}, [pinned("gender", name, strength)], torch.zeros(1, 3)).tolist() == [found]


def test_a_counter_leaves_what_shows_its_class_already() -> None:
    there = torch.tensor([[3.0, 7.0, 8.0]])
    assert torch.allclose(applied({"gender": COUNTERED}, [pinned("gender", "female")], there), there)


def test_a_counter_of_one_concept_follows_that_concept_alone() -> None:
    other = landmarks(torch.tensor([[0.0, 0.0, 1.0]]), {"old": [[4.0]], "young": [[0.0]]})
    marks = {"age": other, "gender": COUNTERED}
    moved = applied(marks, [(*pinned("age", "old"), *pinned("gender", "female"))], torch.tensor([[3.0, 0.0, 0.0]]))
    assert moved.tolist() == [[3.0, 0.0, 4.0]]  # the gender was there


def test_a_counter_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"a counter of \(2,\); expected \(3,\)"):
        landmarks(torch.eye(3)[:1], {"a": [[1.0]]}, counters={"a": torch.zeros(2)})


def widening(gain: float = 0.5) -> Widening:
    """Along the second value, whose mean is 1 at the start and 3 at the end."""
    return Widening(
        axes=torch.tensor([[0.0, 2.0, 0.0]]),
        timesteps=torch.tensor([900.0, 100.0]),
        centres=torch.tensor([[0.5], [1.5]]),  # in units of the axis
        gain=gain,
    )


WIDENED = landmarks(
    torch.tensor([[2.0, 0.0, 0.0]]),
    {"female": [[1.5]], "male": [[-0.5]]},
    widenings={"female": {"skin": widening()}},
)


@pytest.mark.parametrize(
    ("name", "strength", "start", "found"),
    [
        # at timestep 500 the mean is 2: 5 lies 3 away, which grows by half for each of 1.5 axes that are moved
        ("female", 1.0, 5.0, [3.0, 7.25]),
        ("female", 1.0, -1.0, [3.0, -3.25]),
        ("female", 1.0, 2.0, [3.0, 2.0]),
        ("female", 0.5, 5.0, [1.5, 6.125]),
        ("male", 1.0, 5.0, [-1.0, 5.0]),
        ("female:0.75+male:0.25", 1.0, 5.0, [2.0, 6.125]),  # 1 axis, of .75 of the gain
    ],
)
def test_an_image_is_widened_as_far_as_it_is_moved(
    name: str, strength: float, start: float, found: list[float]
) -> None:
    given = torch.tensor([[0.0, start, 8.0]])
    moved = applied({"gender": WIDENED}, [pinned("gender", name, strength)], given)
    assert moved.tolist() == [pytest.approx([*found, 8.0])]


def test_what_is_pinned_itself_is_not_widened() -> None:
    skin = landmarks(torch.tensor([[0.0, 2.0, 0.0]]), {"dark": [[2.0]], "light": [[0.0]]})
    marks = {"gender": WIDENED, "skin": skin}
    both = (*pinned("gender", "female"), *pinned("skin", "dark"))
    assert applied(marks, [both], torch.tensor([[0.0, 5.0, 0.0]])).tolist() == [[3.0, 4.0, 0.0]]


def test_a_widening_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match=r"a widening along \(3,\); expected \(2,\)"):
        landmarks(torch.eye(2)[:1], {"a": [[1.0]]}, widenings={"a": {"skin": widening()}})
    with pytest.raises(InputError, match=r"centres of \(1, 1\); expected \(2, 1\)"):
        dataclasses.replace(widening(), centres=torch.zeros(1, 1))


def test_values_between_two_timesteps_lie_between() -> None:
    times, values = torch.tensor([900.0, 500.0, 100.0]), torch.tensor([[0.0], [4.0], [6.0]])
    found = [float(at_timestep(times, values, one)) for one in (950, 900, 700, 500, 200, 100, 0)]
    assert found == pytest.approx([0, 0, 2, 4, 5.5, 6, 6])
