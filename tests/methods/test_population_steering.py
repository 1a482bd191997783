"""Steering: what the shares miss comes back as weights of winners."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evenhand.concepts.prompts import PromptRow
from evenhand.methods.population_steering import Steering, check_sizes, readable, steered, weights_of
from evenhand.training.cache import PreferenceData
from evenhand.training.denoising import Conditions
from evenhand.training.populations import Made, Plan, Slot
from evenhand.training.rate import rate_factor, settling_part

EVEN = {"female": 0.5, "male": 0.5}
ONCE = 1 / 16
"""The gain at which the last reading counts once, beside 1/64 of the sum."""
SUM = ONCE / 4


def reading(**women: float) -> dict[str, dict[str, float]]:
    return {row: {"female": share, "male": 1 - share} for row, share in women.items()}


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


def weights(
    readings: Sequence[Mapping[str, Mapping[str, float]]], gain: float = ONCE, target: Mapping[str, float] = EVEN
) -> list[float]:
    data, images = winners("nurse", "baker")
    return steered(data, images, readings, target, gain).weight.tolist()


def test_winners_of_a_class_that_is_missing_count_for_more() -> None:
    female, male, loser, *others = weights([reading(nurse=0.8)])
    assert (female, male) == pytest.approx((0.4, 1.6))  # the odds .8 : .2 are taken back
    assert [loser, *others] == pytest.approx([1.0] * 4)


def test_what_prompts_miss_alike_counts_for_less_where_they_are_more() -> None:
    rows = [f"row {place}" for place in range(16)]
    data, images = winners(*rows)
    alike = steered(data, images, [reading(**dict.fromkeys(rows, 0.8))], EVEN, ONCE).weight
    assert float(alike[0] / alike[1]) == pytest.approx(0.25 ** (2 / 16))
    # of two that miss as much to either side each misses it beside the other
    female, male, _, other_female, other_male, _ = weights([reading(nurse=0.8, baker=0.2)])
    assert female / male == other_male / other_female == pytest.approx(0.25 ** (1 + SUM))


def test_no_reading_and_a_gain_of_0_change_nothing() -> None:
    assert weights([]) == [1.0] * 6
    assert weights([reading(nurse=0.9, baker=0.1)], gain=0.0) == [1.0] * 6


def test_what_a_prompt_missed_beside_the_others_adds_up() -> None:
    female, male, *_ = weights([reading(nurse=0.8, baker=0.2), reading(nurse=0.6, baker=0.4)])
    assert female / male == pytest.approx(0.25**SUM * (0.4 / 0.6) ** (1 + SUM))
    female, male, *_ = weights([reading(nurse=0.8, baker=0.8), reading(nurse=0.6, baker=0.4)])
    assert female / male == pytest.approx((0.4 / 0.6) ** (1 + SUM))  # what both missed is over


def test_what_is_missed_now_counts_for_more_as_the_rate_falls() -> None:
    data, images = winners("nurse", "baker")
    some = [reading(nurse=0.8, baker=0.2)]
    for part in (1.0, 0.5, 0.25):
        female, male, *_ = steered(data, images, some, EVEN, ONCE, part).weight.tolist()
        assert female / male == pytest.approx(0.25 ** (1 / part + SUM), rel=1e-4)


@pytest.mark.parametrize(
    ("settled", "part"), [(0, 1.0), (359, 1.0), (360, 1.0), (420, 0.5), (479, 1 / 120), (480, 0.0)]
)
def test_the_rate_falls_over_the_last_quarter_of_the_steps_that_settle(settled: int, part: float) -> None:
    assert settling_part(settled, 480) == pytest.approx(part)
    assert rate_factor(200 + settled, warmup=20, steps=200, settle=480) == pytest.approx(0.5 * part)


@pytest.mark.parametrize("gain", [0.35, 0.7, 1.4])
def test_shares_that_follow_slowly_alone_and_fast_together_arrive_and_do_not_swing(gain: float) -> None:
    """As was measured: between two readings winners of one class alone move a prompt's log-odds by .05 and those of all
    sixteen together by .8, and the model's own pull them back by .04 of the way."""
    own = [0.6, -0.4, 0.3, -0.1] * 4
    found, seen = [0.9, -0.2, 0.3, 0.0] * 4, []
    rows = [f"row {place}" for place in range(16)]
    data, images = winners(*rows)
    readings: list[dict[str, dict[str, float]]] = []
    for _ in range(30):
        readings.append(reading(**{row: 1 / (1 + math.exp(-odds)) for row, odds in zip(rows, found, strict=True)}))
        weight = steered(data, images, readings, EVEN, gain).weight.tolist()
        drives = [(weight[3 * place] - weight[3 * place + 1]) / 2 for place in range(16)]
        mean = sum(drives) / 16
        found = [
            odds + 0.05 * (drive - mean) + 0.8 * mean - 0.04 * (odds - back)
            for odds, drive, back in zip(found, drives, own, strict=True)
        ]
        seen.append(sum(found) / 16)
    assert [share["female"] for share in readings[-1].values()] == pytest.approx([0.5] * 16, abs=0.02)
    assert min(seen) > -0.1  # all began too high


def test_what_is_missed_as_the_rate_falls_is_still_taken_back() -> None:
    """Sixteen prompts that all have too many women when the rate begins to fall, and follow their weights with it."""

    def left(known: bool) -> float:
        rows = [f"row {place}" for place in range(16)]
        data, images = winners(*rows)
        odds, readings = 0.5, []
        for settled in range(360, 480, 20):
            part = settling_part(settled, 480)
            readings.append(reading(**dict.fromkeys(rows, 1 / (1 + math.exp(-odds)))))
            female, male, *_ = steered(data, images, readings, EVEN, 0.7, part if known else 1.0).weight.tolist()
            odds += 0.8 * part * (female - male) / 2
        return odds

    assert abs(left(known=True)) < 0.02
    assert left(known=False) > 0.03


def test_another_target_is_steered_to_in_the_same_way() -> None:
    target = {"female": 0.3, "male": 0.7}
    female, male, *_ = weights([reading(nurse=0.3)], target=target)
    assert (female, male) == pytest.approx((1.0, 1.0))
    *_, other_female, other_male, _ = weights([reading(baker=0.6)], target=target)
    assert other_female / other_male == pytest.approx(0.3 / 0.7 * 0.4 / 0.6)
    assert 0.3 * other_female + 0.7 * other_male == pytest.approx(1.0)


def test_weights_are_1_on_the_mean_over_the_target() -> None:
    found = weights_of({"a": 0.4, "b": -1.0, "c": 0.0}, {"a": 0.2, "b": 0.5, "c": 0.3})
    assert 0.2 * found["a"] + 0.5 * found["b"] + 0.3 * found["c"] == pytest.approx(1.0)


def test_a_share_that_is_read_below_0_is_taken_as_a_small_one() -> None:
    female, male, *_ = weights([reading(nurse=-0.1)])
    assert female / male == pytest.approx(1 / 0.02)


def test_readings_are_kept_and_taken_once(tmp_path: Path) -> None:
    class Once:
        times = 0

        def read(self, denoiser: Any) -> dict[str, list[float]]:
            self.times += 1
            return {"nurse": [0.8, 0.2]}

    data, images = winners("nurse", "baker")
    source: Any = Once()
    for _ in range(2):
        one = Steering(tmp_path, source, images, EVEN, ONCE)
        assert one.take(20, None) == pytest.approx(0.3)
        assert one.steered(data, 19).weight.tolist() == [1.0] * 6  # what came later is not known yet
        assert one.steered(data, 20).weight.tolist()[:2] == pytest.approx([0.4, 1.6])
    assert source.times == 1


def test_images_correct_what_is_read_from_then_on(tmp_path: Path) -> None:
    class Even:
        def read(self, denoiser: Any) -> dict[str, list[float]]:
            return {"nurse": [0.5, 0.5], "baker": [0.5, 0.5]}

    _, images = winners("nurse", "baker")
    source: Any = Even()
    looks: list[int] = []

    def look() -> dict[str, dict[str, int]]:
        looks.append(1)
        return {row: {"female": 30, "male": 70} for row in ("nurse", "baker")}

    one = Steering(tmp_path, source, images, EVEN, ONCE)
    assert one.take(0, None) == pytest.approx(0.0)
    assert one.take(20, None, look) == pytest.approx(0.2, abs=0.005)  # .3 instead of the .5 that is read
    assert one.take(20, None, look) == pytest.approx(0.2, abs=0.005)
    assert len(looks) == 1
    again = Steering(tmp_path, source, images, EVEN, ONCE)
    assert again.take(40, None) == pytest.approx(0.2, abs=0.005)  # known to a training that goes on


@pytest.mark.parametrize(
    ("settle", "images", "sizes"),
    [
        (480, 512, {0: 32, 12: 96, 24: 384}),
        (360, 320, {0: 20, 9: 60, 18: 240}),
        (100, 64, {0: 4, 2: 12, 5: 48}),
        (22, 64, {0: 4, 1: 12, 2: 48}),
        (20, 64, {0: 16, 1: 48}),  # the only reading has both of the smaller parts
        (480, 1, {0: 1, 12: 1, 24: 1}),
        (480, 0, {}),
    ],
)
def test_few_images_check_the_first_reading_and_most_the_trained_model(
    settle: int, images: int, sizes: dict[int, int]
) -> None:
    assert check_sizes(settle, images) == sizes


def test_what_is_missing_is_the_logarithm_of_wanted_over_read_shares(tmp_path: Path) -> None:
    class Uneven:
        def read(self, denoiser: Any) -> dict[str, list[float]]:
            return {"nurse": [0.8, 0.2], "baker": [0.5, 0.5]}

    source: Any = Uneven()
    one = Steering(tmp_path, source, winners("nurse", "baker")[1], EVEN, ONCE)
    one.take(20, None)
    assert one.missing(20)["nurse"] == pytest.approx([math.log(0.5 / 0.8), math.log(0.5 / 0.2)])
    assert one.missing(20)["baker"] == [0.0, 0.0]


def test_as_many_winners_of_a_class_are_read_as_the_target_wants() -> None:
    data, images = winners("nurse", "baker")
    prompts = tuple(f"{row}{words}" for row in ("nurse", "baker") for words in ("", ", woman", ", man"))
    data = dataclasses.replace(data, conditions=Conditions(prompts, {}, {}, "sample"))
    rows = tuple(PromptRow(name=row, templates=(row,)) for row in ("nurse", "baker"))
    plan = Plan(rows=rows, target=EVEN, words={"female": "woman", "male": "man"}, side=2, populations=1)
    found = readable(data, images, plan)
    assert found.rows.tolist() == [0, 1, 3, 4]
    assert found.groups == ["nurse", "nurse", "baker", "baker"]
    assert found.named.tolist() == [[1, 2], [1, 2], [4, 5], [4, 5]]
