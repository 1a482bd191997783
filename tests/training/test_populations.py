"""Populations: composition, seeds, the check on both sides, and what happens where it cannot be met."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, InputError
from evenhand.records import Request, Sample
from evenhand.training.populations import Plan, Populations, build, slots

ROWS = tuple(PromptRow(name=name, templates=(f"photo of {name}",), phrase=f"a photo of a {name}") for name in "ab")
TARGET = {"female": 0.5, "male": 0.5}
WORDS = {"female": "woman", "male": "man"}


def plan(**more: object) -> Plan:
    values = {"rows": ROWS, "target": TARGET, "words": WORDS, "side": 3, "populations": 4, **more}
    return Plan(**values)  # type: ignore[arg-type]


class Studio:
    """Makes images that show what was asked for, but for the first ones; and counts."""

    def __init__(self, *, wrong: int = 0, abstain: int = 0, elsewhere: int = 0) -> None:
        self.left = {"wrong": wrong, "abstain": abstain, "elsewhere": elsewhere}
        self.requests: list[Request] = []

    def make(self, requests: Sequence[Request]) -> list[Sample]:
        self.requests += requests
        image = np.zeros((2, 2, 3), np.uint8)
        return [
            Sample(request=one, image=image, latents=np.full((4, 2, 2), one.seed % 7, np.float32)) for one in requests
        ]

    def read(self, samples: Sequence[Sample]) -> list[tuple[str | None, str | None]]:
        return [self._one(sample.request) for sample in samples]

    def _one(self, request: Request) -> tuple[str | None, str | None]:
        named = [name for name, words in WORDS.items() if request.prompt.endswith(f", {words}")]
        for what in ("abstain", "elsewhere", "wrong"):
            if self.left[what] and named:
                self.left[what] -= 1
                other = next(name for name in WORDS if name not in named)
                return {"abstain": (None, request.row), "elsewhere": (named[0], "c"), "wrong": (other, request.row)}[
                    what
                ]
        return (named or ["male"])[0], request.row


def built(one: Plan, studio: Studio) -> Populations:
    return build(one, studio.make, studio.read)


def test_every_population_has_as_many_winners_as_losers_under_one_neutral_caption() -> None:
    found = built(plan(), Studio()).images
    assert len(found) == plan().images == 2 * 3 * 4 * 2
    for number in range(8):
        own = [one.slot for one in found if one.slot.population == number]
        assert [slot.winner for slot in own] == [True] * 3 + [False] * 3
        assert len({slot.caption for slot in own}) == 1
        assert all(slot.prompt.startswith(slot.caption) for slot in own)
        assert all(slot.prompt == slot.caption for slot in own if not slot.winner)


def test_winners_of_a_row_have_the_target_and_are_dealt_to_its_populations_at_random() -> None:
    one = plan(target={"female": 0.3, "male": 0.7}, side=10, populations=60)
    winners = [slot for slot in slots(one) if slot.winner]
    for row in {slot.row for slot in winners}:
        shown = [slot.shown for slot in winners if slot.row == row]
        assert shown.count("female") == 0.3 * 600
    held = collections.Counter(
        sum(slot.shown == "female" for slot in winners if slot.population == number) for number in range(120)
    )
    # not balanced one by one, which would lead past the target: of ten cards from 600 the variance of the women is
    # 10 x .3 x .7 x 590 / 599 = 2.07, to within four standard errors of it over 120 populations (.27 each)
    mean = sum(count * times for count, times in held.items()) / 120
    assert sum((count - mean) ** 2 * times for count, times in held.items()) / 120 == pytest.approx(2.07, abs=1.1)


def test_winners_of_a_row_with_one_population_are_drawn_independently() -> None:
    one = plan(side=10, populations=1)
    assert (one.composition, plan(populations=2).composition) == ("iid", "stratified")
    counts = []
    for seed in range(60):
        shown = [slot.shown for slot in slots(dataclasses.replace(one, seed=seed)) if slot.winner]
        counts += [shown[:10].count("female"), shown[10:].count("female")]
    # exactly balanced it would be 5 each time; the variance of ten draws is 2.5, give or take 4 x .32 over 120
    assert np.var(counts) == pytest.approx(2.5, abs=1.3)


def test_seeds_are_the_same_in_every_build_and_on_both_sides() -> None:
    first, second = (built(plan(), Studio()).images for _ in range(2))
    assert [one.seed for one in first] == [one.seed for one in second]
    winners, losers = ({one.seed for one in first if one.slot.winner == side} for side in (True, False))
    # a winner differs from the loser of its number in what its prompt adds, and in as little else as can be
    assert winners == losers
    assert len(winners) == len(first) / 2


def test_what_fails_the_check_is_made_again_with_its_class_and_counted_by_reason() -> None:
    studio = Studio(wrong=2, abstain=1, elsewhere=3)
    found = built(plan(), studio)
    assert found.rejected == {
        "winner: the judge abstains": 1, "winner: shows something else": 3, "winner: shows another class": 2,
    }  # fmt: skip
    assert found.made == len(studio.requests) == plan().images + 6
    assert [one.slot.shown for one in found.images if one.slot.winner] == [
        slot.shown for slot in slots(plan()) if slot.winner
    ]
    assert all(one.label == one.slot.shown for one in found.images if one.slot.winner)


def test_a_check_that_nothing_passes_declines_with_the_reasons() -> None:
    with pytest.raises(DeclinedError, match=r"passed no check in 4 tries.*winner: shows another class"):
        built(plan(), Studio(wrong=10**6))


def test_the_plan_is_told_before_anything_is_made() -> None:
    assert plan().describe(25, 4.0) == "48 images (2 prompts), 2,400 denoiser evaluations, 0.2 minutes"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rows": ()}, "no prompts"),
        ({"side": 0}, "side=0 and populations=4"),
        ({"words": {"female": "woman"}}, "no words for the class 'male'"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(**values)
