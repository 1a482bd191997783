"""Steering by looks: what is missed comes back as weights of winners, less what chance explains."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch

from evenhand.methods.population_looks import Look
from evenhand.methods.population_steering import shrunk, steered, weights_of
from evenhand.training.cache import PreferenceData
from evenhand.training.denoising import Conditions
from evenhand.training.populations import Made, Slot

EVEN = {"female": 0.5, "male": 0.5}


def look(step: int, **women: float) -> Look:
    """Of 10,000 images a row, so that nothing is left to chance."""
    shares = {
        row: {"female": round(10_000 * share), "male": round(10_000 * (1 - share))} for row, share in women.items()
    }
    return Look(step=step, value=0.0, upper=0.0, recognised=1.0, images=0, shares=shares)


def winners(*rows: str) -> tuple[PreferenceData, list[Made]]:
    """A woman and a man who won, and one loser, of each row."""
    images = [
        Made(
            slot=Slot(
                row=row, caption=row, prompt=row, population=place, winner=won, shown=label if won else None, index=0
            ),
            label=label,
            seed=0,
            latents=torch.zeros(1),
        )
        for place, row in enumerate(rows)
        for label, won in (("female", True), ("male", True), ("male", False))
    ]
    count = len(images)
    numbers = torch.zeros(count, dtype=torch.long)
    data = PreferenceData(
        latents=torch.zeros(count, 1),
        winner=torch.tensor([one.slot.winner for one in images]),
        population=numbers,
        pair=numbers,
        prompt=numbers,
        own=numbers,
        timesteps=torch.zeros(1, 1),
        reference=torch.zeros(count, 1),
        taught=torch.zeros(0),
        weight=torch.ones(count),
        conditions=Conditions((), {}, {}, "sample"),
        seed=0,
        prediction="epsilon",
    )
    return data, images


def weights(looks: list[Look], gain: float = 1.0, target: Mapping[str, float] = EVEN) -> list[float]:
    data, images = winners("nurse", "baker")
    return steered(data, images, looks, target, gain).weight.tolist()


def test_winners_of_a_class_that_is_missing_count_for_more() -> None:
    female, male, loser, *others = weights([look(0, nurse=0.9, baker=0.9), look(10, nurse=0.8, baker=0.5)])
    assert female == pytest.approx(0.4, rel=1e-2)  # the odds .8 : .2 are taken back
    assert male == pytest.approx(1.6, rel=1e-2)
    assert [loser, *others] == pytest.approx([1.0] * 4, rel=1e-2)


def test_the_plain_model_and_a_gain_of_0_change_nothing() -> None:
    assert weights([look(0, nurse=0.9, baker=0.1)]) == [1.0] * 6
    assert weights([look(10, nurse=0.9, baker=0.1)], gain=0.0) == [1.0] * 6


def test_looks_add_up_until_the_target_is_met() -> None:
    bias, looks = {"nurse": 1.5, "baker": -0.7}, [look(0, nurse=0.9, baker=0.1)]
    for step in range(1, 9):  # a model that ends at the odds of its winners' weights, but for a bias of its own
        found = weights(looks, gain=0.7)
        odds = {"nurse": found[0] / found[1], "baker": found[3] / found[4]}
        share = {row: 1 / (1 + math.exp(-bias[row]) / odds[row]) for row in bias}
        looks.append(look(step, **share))
    assert share == pytest.approx({"nurse": 0.5, "baker": 0.5}, abs=0.01)


def test_another_target_is_steered_to_in_the_same_way() -> None:
    target = {"female": 0.3, "male": 0.7}
    female, male, *_ = weights([look(5, nurse=0.3, baker=0.6)], target=target)
    assert (female, male) == pytest.approx((1.0, 1.0), rel=1e-2)
    *_, female, male, _ = weights([look(5, nurse=0.3, baker=0.6)], target=target)
    assert female / male == pytest.approx(0.3 / 0.7 * 0.4 / 0.6, rel=1e-2)
    assert 0.3 * female + 0.7 * male == pytest.approx(1.0)


def test_weights_are_1_on_the_mean_over_the_target() -> None:
    found = weights_of({"a": 0.4, "b": -1.0, "c": 0.0}, {"a": 0.2, "b": 0.5, "c": 0.3})
    assert 0.2 * found["a"] + 0.5 * found["b"] + 0.3 * found["c"] == pytest.approx(1.0)


def test_misses_that_chance_explains_are_not_steered_against() -> None:
    few = {"nurse": {"female": 9, "male": 7}, "baker": {"female": 7, "male": 9}}
    assert shrunk(few, EVEN) == {"nurse": EVEN, "baker": EVEN}
    many = {"nurse": {"female": 900, "male": 700}, "baker": {"female": 700, "male": 900}}
    assert shrunk(many, EVEN)["nurse"]["female"] == pytest.approx(0.5 + 0.9 * 0.0625, abs=0.005)


def test_a_row_in_which_nothing_can_be_told_is_left_out() -> None:
    assert shrunk({"nurse": {"female": 0, "male": 0}}, EVEN) == {}
    assert weights([look(3, baker=0.9)])[:2] == [1.0, 1.0]
