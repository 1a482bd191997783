"""Moving latents along a score: by just what is missing, across the radius, and only where something is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from evenhand.errors import InputError
from evenhand.host.noise_level import NoiseLevel
from evenhand.host.sites import Call, Step
from evenhand.interventions.latent_correction import LARGEST, MARGIN, LatentCorrection
from evenhand.interventions.window import Window

LATENTS = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
AXIS = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(2))
UNIT = (AXIS / AXIS.norm()).flatten()


class Linear:
    """Log-odds of the second class are a slope times the coordinate along an axis."""

    classes = ("a", "b")

    def __init__(self, slope: float = 2.0) -> None:
        self.slope = slope

    def log_chances(self, latents: torch.Tensor, timestep: float) -> torch.Tensor:
        odds = self.slope * latents.flatten(1) @ UNIT
        return torch.nn.functional.log_softmax(torch.stack([-odds / 2, odds / 2], dim=1), dim=1)


def step(index: int = 0, total: int = 10) -> Step:
    level = NoiseLevel(alpha=0.1, sigma=0.9, prediction="epsilon")
    return Step(index=index, total=total, timestep=900.0, after=800.0, level=level, guidance=5.0)


def moved(
    wanted: Sequence[tuple[str, float] | None], latents: torch.Tensor = LATENTS, steps: int = 1, **more: Any
) -> tuple[torch.Tensor, Any]:
    values = {"window": Window(start=0), "score": Linear(), **more}
    correction = LatentCorrection(name="corrector", wanted=lambda call: wanted, **values)
    effect = correction.begin(Call(prompts=None, images=len(latents)))
    assert effect is not None
    for index in range(steps):
        latents = effect.update(step(index), latents)
    return latents, effect.evidence()


def coordinates(latents: torch.Tensor) -> torch.Tensor:
    """In units of the latents' own root mean square, as the score sees them."""
    return (latents.flatten(1) @ UNIT) / latents.flatten(1).square().mean(dim=1).sqrt()


def test_images_come_to_the_margin_and_no_further() -> None:
    after, _ = moved([("b", 3.0)] * 4, steps=20)
    assert torch.allclose(2.0 * coordinates(after), torch.tensor(3.0 * MARGIN), atol=0.05)


def test_an_image_beyond_the_margin_keeps_its_latents() -> None:
    far = LATENTS + 10 * AXIS / AXIS.norm()
    after, told = moved([("b", 1.0)] * 4, far)
    assert torch.allclose(after, far, atol=1e-6)
    assert told[0]["moved"] == 0.0


def test_a_step_moves_by_no_more_than_half_a_standard_deviation_of_one_coordinate() -> None:
    after, told = moved([("b", 8.0)] * 4)
    scale = LATENTS.flatten(1).square().mean(dim=1).sqrt()
    assert (coordinates(after) - coordinates(LATENTS)).max() <= LARGEST + 1e-4
    assert told[0]["moved"] == pytest.approx(LARGEST * float(scale[0]), rel=1e-3)


def test_the_norm_is_kept() -> None:
    after, _ = moved([("b", 4.0)] * 4, steps=10)
    assert torch.allclose(after.flatten(1).norm(dim=1), LATENTS.flatten(1).norm(dim=1), rtol=1e-5)


def test_images_without_a_wish_keep_their_bits_and_others_do_not_depend_on_them() -> None:
    after, _ = moved([None, ("b", 2.0), None, ("a", 2.0)])
    assert torch.equal(after[[0, 2]], LATENTS[[0, 2]])
    alone, _ = moved([("b", 2.0)], LATENTS[1:2])
    assert torch.allclose(after[1], alone[0], atol=1e-6)
    assert coordinates(after)[1] > coordinates(LATENTS)[1]
    assert coordinates(after)[3] < coordinates(LATENTS)[3]


def test_a_mask_keeps_everything_outside_it() -> None:
    mask = torch.zeros(8, 8)
    mask[:, :4] = 1
    after, _ = moved([("b", 4.0)] * 4, mask=mask)
    assert torch.equal(after[..., 4:], LATENTS[..., 4:])
    assert not torch.allclose(after[..., :4], LATENTS[..., :4], atol=1e-3)
    assert torch.allclose(after.flatten(1).norm(dim=1), LATENTS.flatten(1).norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("side", [slice(0, 8), slice(8, 16)])
def test_of_two_people_the_mask_chooses_one(side: slice) -> None:
    """Latents twice as wide, each half with its own coordinate: the masked half comes to the margin by itself."""
    two = torch.randn(3, 4, 8, 16, generator=torch.Generator().manual_seed(3))
    mask = torch.zeros(8, 16)
    mask[:, side] = 1

    class OfBoth:
        """Log-odds are the sum over both people."""

        classes = ("a", "b")

        def log_chances(self, latents: torch.Tensor, timestep: float) -> torch.Tensor:
            odds = 2.0 * (latents * torch.cat([AXIS, AXIS], dim=2) / AXIS.norm()).flatten(1).sum(dim=1)
            return torch.nn.functional.log_softmax(torch.stack([-odds / 2, odds / 2], dim=1), dim=1)

    def of(latents: torch.Tensor, place: slice) -> torch.Tensor:
        return (latents[..., place] * AXIS / AXIS.norm()).flatten(1).sum(dim=1)

    after, _ = moved([("b", 2.0)] * 3, two, steps=20, score=OfBoth(), mask=mask)
    other = slice(8, 16) if side.start == 0 else slice(0, 8)
    assert torch.equal(after[..., other], two[..., other])
    assert (of(after, side) > of(two, side) + 1.0).all()


def test_it_acts_only_in_its_window() -> None:
    after, told = moved([("b", 4.0)] * 4, steps=10, window=Window(start=0.0, stop=0.3))
    assert told[0]["active_steps"] == 3
    again, _ = moved([("b", 4.0)] * 4, steps=3)
    assert torch.equal(after, again)


def test_latents_of_another_scale_are_moved_alike() -> None:
    # a scheduler that keeps latents in units of sigma
    small, _ = moved([("b", 2.0)] * 4)
    large, _ = moved([("b", 2.0)] * 4, 14.6 * LATENTS)
    assert torch.allclose(large / 14.6, small, atol=1e-5)


def test_half_precision_stays_and_an_unknown_class_is_refused() -> None:
    after, _ = moved([("b", 2.0)] * 4, LATENTS.bfloat16())
    assert after.dtype == torch.bfloat16
    with pytest.raises(InputError, match="no class 'c'"):
        moved([("c", 1.0)] * 4)
