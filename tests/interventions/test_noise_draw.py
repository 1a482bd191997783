"""Drawing coordinates of the initial noise: the complement stays, directions do not move each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from evenhand.errors import InputError, ModelError
from evenhand.host.sites import Call
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.noise_laws import Law, reflected, shifted

SHAPE = (4, 8, 8)
NOISE = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(1))
_RNG = torch.Generator().manual_seed(2)
FIRST = torch.randn(SHAPE, generator=_RNG)
OTHER = torch.randn(SHAPE, generator=_RNG)
# a second direction at a cosine of .6 with the first
_ORTHOGONAL = OTHER - (OTHER * FIRST).sum() / FIRST.norm() ** 2 * FIRST
SECOND = 0.6 * FIRST / FIRST.norm() + 0.8 * _ORTHOGONAL / _ORTHOGONAL.norm()
AXES = {"gender": FIRST, "skin": SECOND}


def drawn(
    laws: Mapping[str, Law] | Sequence[Mapping[str, Law]], noise: torch.Tensor = NOISE, **more: Any
) -> tuple[torch.Tensor, Any]:
    each = [laws] * len(noise) if isinstance(laws, Mapping) else laws
    draw = NoiseDraw(name="noise", axes=more.pop("axes", AXES), laws=lambda call: each, **more)
    effect = draw.begin(Call(prompts=None, images=len(noise)))
    assert effect is not None
    return effect.draw(noise), effect.evidence()


def coordinates(noise: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    return noise.flatten(1) @ (axis / axis.norm()).flatten()


def test_one_direction_moves_its_coordinate_and_leaves_the_complement() -> None:
    moved, _ = drawn({"gender": shifted(3.0)}, axes={"gender": FIRST})
    assert torch.allclose(coordinates(moved, FIRST), coordinates(NOISE, FIRST) + 3, atol=1e-5)
    unit = (FIRST / FIRST.norm()).flatten()
    before, after = (one.flatten(1) - (one.flatten(1) @ unit)[:, None] * unit for one in (NOISE, moved))
    assert (before - after).abs().max() < 1e-6


def test_directions_that_are_not_orthogonal_do_not_move_each_other() -> None:
    moved, _ = drawn({"gender": shifted(3.0), "skin": shifted(3.0)})
    for axis in AXES.values():
        assert torch.allclose(coordinates(moved, axis) - coordinates(NOISE, axis), torch.tensor(3.0), atol=1e-5)
    # the change is U G^-1 (3, 3), of norm 3 sqrt(2 / 1.6) = 3.354
    assert (moved - NOISE)[0].norm().item() == pytest.approx(3.354, abs=1e-3)


def test_the_plain_sum_moves_each_by_the_others_share_too() -> None:
    moved, _ = drawn({"gender": shifted(3.0), "skin": shifted(3.0)}, additive=True)
    assert torch.allclose(coordinates(moved, FIRST) - coordinates(NOISE, FIRST), torch.tensor(4.8), atol=1e-5)
    assert (moved - NOISE)[0].norm().item() == pytest.approx(3 * (2 + 2 * 0.6) ** 0.5, abs=1e-3)


def test_a_protected_direction_keeps_its_coordinate() -> None:
    moved, _ = drawn({"gender": shifted(3.0)})  # skin is among the axes and has no law
    assert torch.allclose(coordinates(moved, SECOND), coordinates(NOISE, SECOND), atol=1e-5)
    alone, _ = drawn({"gender": shifted(3.0)}, axes={"gender": FIRST})
    assert (coordinates(alone, SECOND) - coordinates(NOISE, SECOND)).abs().min() > 1.7  # .6 x 3 without protection


def test_a_weight_of_nothing_returns_the_same_bits() -> None:
    moved, _ = drawn([{"gender": shifted(0.0)}] * 3 + [{"gender": shifted(1.0)}] * 3)
    assert torch.equal(moved[:3], NOISE[:3])
    assert not torch.equal(moved[3:], NOISE[3:])
    half, _ = drawn([{}] * 5 + [{"gender": shifted(1.0)}])
    assert torch.equal(half[:5], NOISE[:5])


def test_strength_goes_a_share_of_the_way() -> None:
    moved, _ = drawn({"gender": shifted(3.0)}, axes={"gender": FIRST}, strength=0.5)
    assert torch.allclose(coordinates(moved, FIRST) - coordinates(NOISE, FIRST), torch.tensor(1.5), atol=1e-5)


def test_chi_gives_the_noise_its_norm_back_and_keeps_the_direction_of_the_complement() -> None:
    moved, _ = drawn({"gender": shifted(8.0)}, axes={"gender": FIRST}, renorm="chi")
    assert torch.allclose(moved.flatten(1).norm(dim=1), NOISE.flatten(1).norm(dim=1), rtol=1e-5)
    unit = (FIRST / FIRST.norm()).flatten()
    before, after = (one.flatten(1) - (one.flatten(1) @ unit)[:, None] * unit for one in (NOISE, moved))
    assert torch.allclose(torch.cosine_similarity(before, after), torch.ones(6), atol=1e-5)


def test_two_classes_of_one_seed_are_reflections() -> None:
    one, _ = drawn({"gender": reflected(1)}, axes={"gender": FIRST})
    other, _ = drawn({"gender": reflected(-1)}, axes={"gender": FIRST})
    assert torch.allclose(coordinates(one, FIRST), -coordinates(other, FIRST), atol=1e-5)


def test_every_image_says_what_was_done_and_what_it_costs() -> None:
    _, told = drawn({"gender": shifted(3.0), "skin": shifted(3.0)})
    assert len(told) == 6
    assert told[0]["nats"] == pytest.approx(5.625, abs=1e-3)  # 9 / (1 + .6)
    before, after = told[0]["coordinates"]["gender"]
    assert after - before == pytest.approx(3.0, abs=1e-3)


def test_noise_in_half_precision_stays_so() -> None:
    moved, _ = drawn({"gender": shifted(1.0)}, noise=NOISE.bfloat16())
    assert moved.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("axes", "said"),
    [({}, "has no direction"), ({"a": FIRST, "b": FIRST + 0.01 * OTHER}, "say nearly the same")],
)
def test_directions_that_cannot_be_told_apart_are_refused(axes: dict[str, torch.Tensor], said: str) -> None:
    with pytest.raises(InputError, match=said):
        NoiseDraw(name="noise", axes=axes, laws=lambda call: [])


def test_another_image_size_and_an_unknown_direction_are_refused() -> None:
    with pytest.raises(ModelError, match="use the image size that they were fitted at"):
        drawn({"gender": shifted(1.0)}, noise=torch.randn(2, 4, 16, 16))
    with pytest.raises(InputError, match="no direction 'age'"):
        drawn({"age": shifted(1.0)})


def test_a_row_with_directions_of_its_own_moves_along_them() -> None:
    own = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    moved, told = drawn(
        {"gender": shifted(3.0)}, own={"nurse": {"gender": own}}, rows=lambda call: ["nurse", "", "nurse", "", "", ""]
    )
    change = moved - NOISE
    for place, axis in enumerate((own, FIRST, own, FIRST, FIRST, FIRST)):
        assert float((change[place] * axis).sum() / axis.norm()) == pytest.approx(3.0, abs=1e-4)
        before, after = told[place]["coordinates"]["gender"]
        assert after - before == pytest.approx(3.0, abs=1e-3)
    # the other direction keeps its coordinate in every row's own frame
    assert torch.allclose(coordinates(moved, SECOND), coordinates(NOISE, SECOND), atol=1e-5)


def test_a_row_whose_directions_say_nearly_the_same_is_named() -> None:
    with pytest.raises(InputError, match="say nearly the same for nurse"):
        drawn({"gender": shifted(3.0)}, own={"nurse": {"gender": SECOND + 0.01 * FIRST}})
