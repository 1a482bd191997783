"""Fitting on population preferences: what is built, what is spent, when it stops, and when it declines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import ready

from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.interventions.weight_delta import WeightDelta
from evenhand.methods import population_preference
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.method import Setting
from evenhand.methods.prompt_mix import words_of
from evenhand.records import Request, Sample, Settings
from evenhand.watch import Silent

METHOD = population_preference.METHOD
SETTINGS = Settings(steps=2, guidance=2.0)
ROWS = ("nurse", "baker")
SMALL = {
    "side": "2",
    "populations": "2",
    "draws": "2",
    "steps": "6",
    "look": "2",
    "looks": "20",
    "controls": "0",
    "batch": "2",
    "rank": "2",
    "specific": "0",
    "settle": "0",
}


@pytest.fixture
def host() -> Iterator[Host]:
    with Host.wrap(ready("sd1")) as one:
        yield one


class Judge:
    """Reads winners as what they were asked for; in the k-th look a given share of the images as women."""

    def __init__(self, shares: Sequence[float], *, recognised: Sequence[float] = (1.0,) * 99) -> None:
        self.shares, self.recognised = list(shares), list(recognised)
        self.looks = 0

    def read(self, samples: Sequence[Sample], concepts: Sequence[Any]) -> list[tuple[str | None, ...]]:
        if any(", " in one.request.prompt for one in samples):
            return [(self._asked(one.request), one.request.row)[: len(concepts)] for one in samples]
        place = min(self.looks, len(self.shares) - 1)  # the last one also for the look at the kept adapter
        share, seen = self.shares[place], self.recognised[place]
        self.looks += 1
        found: list[tuple[str | None, ...]] = []
        for place, one in enumerate(samples):
            label = "female" if place % 20 < round(20 * share) else "male"
            row = one.request.row if place < seen * len(samples) else "other"
            found.append((label, row)[: len(concepts)])
        return found

    def _asked(self, request: Request) -> str:
        return "female" if request.prompt.endswith(", woman") else "male"


def fitting(host: Host, judge: Judge) -> Fitting:
    def make(attached: Sequence[Any], requests: Sequence[Request], steps: int | None = None) -> list[Sample]:
        settings = dataclasses.replace(SETTINGS, steps=steps or SETTINGS.steps)
        with host.attached(*attached):
            return list(sample(host, requests, settings, batch_size=8, keep_latents=True))

    return Fitting(
        host=host,
        settings=SETTINGS,
        setting=Setting(),
        make=make,
        read=judge.read,
        knows=lambda concept: True,
        rows=lambda concept: tuple(
            PromptRow(name=row, templates=(f"photo of {row}",), phrase=f"a photo of a {row}") for row in ROWS
        ),
        judge_hash="judge",
        watcher=Silent(),
    )


def fitted(host: Host, judge: Judge, **more: str) -> Fitted:
    assert METHOD.fit is not None
    (plan,) = METHOD.plans(Setting(), METHOD.read({**SMALL, **more}))
    return METHOD.fit(fitting(host, judge), plan.values)


def test_the_target_is_part_of_what_is_fitted() -> None:
    plans = [
        METHOD.plans(Setting(targets=targets), METHOD.read({}))[0].values["target"]
        for targets in ({}, {"gender": {"female": 0.3, "male": 0.7}})
    ]
    assert plans == ['{"female": 0.5, "male": 0.5}', '{"female": 0.3, "male": 0.7}']


def test_a_joint_is_asked_for_in_the_words_of_each_part() -> None:
    joint = Setting().concept("gender*skin")
    assert words_of(joint, joint.class_names[0]) == "woman, light skin"


def test_the_best_adapter_that_was_seen_is_kept_and_the_model_given_back(host: Host) -> None:
    names = [name for name, _ in host.denoiser.named_modules()]
    found = fitted(host, Judge([0.9, 0.6, 0.5, 0.9]))
    assert [name for name, _ in host.denoiser.named_modules()] == names
    looks = found.card.effect["looks"]
    assert [one["step"] for one in looks] == [0, 2, 4, 6]
    # 18 of 20 in either row: the square of .4, less .9 x .1 / 19
    assert looks[0]["deviation"] == pytest.approx((0.4**2 - 0.09 / 19) ** 0.5, abs=1e-4)
    assert looks[2]["deviation"] == 0.0
    second = fitted(host, Judge([0.9, 0.6, 0.5, 0.5]), steps="4")
    assert all(torch.equal(found.tensors[name], value) for name, value in second.tensors.items())


def test_what_is_spent_is_counted(host: Host) -> None:
    before = host.evaluations
    effect = fitted(host, Judge([0.9, 0.6, 0.5, 0.5])).card.effect
    assert host.evaluations - before == effect["evaluations"]
    # 16 images of 2 steps with guidance; a step of each of 4 captions and of 8 prompts that name a class; 2 draws of
    # each image, and of each of 8 winners under its own prompt
    assert (effect["images"], effect["made"], effect["composition"]) == (16, 16, "stratified")
    assert effect["evaluations_of_data"] == 16 * 2 * 2 + 4 + 8 + 16 * 2 + 8 * 2
    # then 4 looks of 40 images and one at the kept adapter, and 6 steps of 2 populations of 4 images
    assert effect["evaluations"] - effect["evaluations_of_data"] == 5 * 40 * 2 * 2 + 6 * 2 * 4


def test_checks_are_made_in_few_steps_for_the_most_part(host: Host) -> None:
    def spent(checks: str) -> int:
        (plan,) = METHOD.plans(Setting(), METHOD.read({**SMALL, "steps": "2", "settle": "22", "checks": checks}))
        assert METHOD.fit is not None
        longer = dataclasses.replace(
            fitting(host, Judge([0.9, 0.6, 0.5, 0.5])), settings=Settings(steps=12, guidance=2)
        )
        return METHOD.fit(longer, plan.values).card.effect["evaluations"]

    # for each of two rows 4 and 12 images of 12 steps at the two readings and 48 at the end: of them 1, 3 and 12 whole
    # ones (here of 2 steps), and in 6 steps what the others would have cost, 6, 18 and 72 images, of which as many
    # repeat the whole ones; a last batch of several is filled up to 8; guided, so twice
    images = ((2 + 6 + 24) * 2 + (16 + 40 + 144) * 6) * 2
    # the trained model is read once more, 4 winners of each row at 3 levels, and taught what it misses in 80 steps of 3
    # images of each row and 16 that hold it: each predicted, then trained on, and the 6 under the names of 2 classes
    assert spent("64") - spent("0") == images + 2 * 4 * 3 + 80 * (2 * (6 + 16) + 6 * 2)


def test_it_stops_when_the_upper_limit_is_low_enough(host: Host) -> None:
    found = fitted(host, Judge([0.9, 0.5, 0.5, 0.5]), limit="0.4")
    assert [one["step"] for one in found.card.effect["looks"]] == [0, 2]


def test_an_adapter_that_shows_less_of_what_was_asked_for_is_not_kept(host: Host) -> None:
    with pytest.raises(DeclinedError, match=r"no adapter is fairer in gender .* \(deviation 0.39 at step 0"):
        fitted(host, Judge([0.9, 0.5, 0.5, 0.5], recognised=[1.0, 0.9, 0.9, 0.9]))


def remembering(judge: Judge) -> list[list[Request]]:
    """What the judge is shown from now on."""
    seen: list[list[Request]] = []
    read = judge.read

    def remembered(samples: Sequence[Sample], concepts: Sequence[Any]) -> list[tuple[str | None, ...]]:
        seen.append([one.request for one in samples])
        return read(samples, concepts)

    judge.read = remembered  # type: ignore[method-assign]
    return seen


def test_the_kept_adapter_is_looked_at_once_more_on_seeds_of_its_own(host: Host) -> None:
    judge = Judge([0.9, 0.6, 0.5, 0.9, 0.55])
    looks = remembering(judge)
    effect = fitted(host, judge).card.effect
    seen = [{one.seed for one in some} for some in looks]
    assert effect["kept"]["step"] == 4
    # 11 of 20 in either row: the square of .05 less .55 x .45 / 19 is below 0
    assert effect["kept"]["deviation"] == 0.0
    assert not seen[-1] & set().union(*seen[:-1])


def test_two_of_three_images_of_a_check_have_the_noise_of_every_prompt(host: Host) -> None:
    judge = Judge([0.9, 0.6, 0.5])
    seen = remembering(judge)
    fitted(host, judge, steps="2", settle="22", checks="32")
    # first the populations, then of either row 2 and 6 images at the two readings and 24 at the end; a look has 20
    checks = [some for some in seen[1:] if len(some) != 2 * 20]
    assert [len(some) for some in checks] == [2 * 2, 2 * 6, 2 * 24]
    for some in checks:
        nurse, baker = ([one.seed for one in some if one.row == row] for row in ROWS)
        assert [one == other for one, other in zip(nurse, baker, strict=True)] == [k % 3 < 2 for k in range(len(nurse))]
        assert len(set(nurse)) == len(nurse)


class _Killed(BaseException):
    """Stands for kill -9."""


@pytest.mark.parametrize("after", [3, 60, 150])
def test_a_fit_that_was_killed_goes_on_and_ends_as_it_would_have(host: Host, tmp_path: Path, after: int) -> None:
    (plan,) = METHOD.plans(Setting(), METHOD.read(SMALL))
    assert METHOD.fit is not None
    whole = METHOD.fit(fitting(host, Judge([0.9, 0.6, 0.5, 0.9, 0.55])), plan.values)
    left = after

    def dying(judge: Judge) -> Fitting:
        one = fitting(host, judge)

        def make(attached: Sequence[Any], requests: Sequence[Request], steps: int | None = None) -> list[Sample]:
            nonlocal left
            left -= len(requests)
            if left < 0:
                raise _Killed
            return one.make(attached, requests, steps)

        return dataclasses.replace(one, make=make, scratch=tmp_path)

    judge, before = Judge([0.9, 0.6, 0.5, 0.9, 0.55]), host.evaluations
    with pytest.raises(_Killed):
        METHOD.fit(dying(judge), plan.values)
    left = 10_000
    found = METHOD.fit(dying(judge), plan.values)
    assert found.card.effect["evaluations"] == host.evaluations - before >= whole.card.effect["evaluations"]
    assert found.card.effect["evaluations_of_data"] == whole.card.effect["evaluations_of_data"]
    assert left == 10_000 - (5 * 40 + 16 - _done(after))
    assert found.card.effect["looks"] == whole.card.effect["looks"]
    assert all(torch.equal(found.tensors[name], value) for name, value in whole.tensors.items())
    assert {*found.files} == {"populations.parquet", "log.jsonl"}


def _done(after: int) -> int:
    """Images of what was finished before the kill: the populations, then looks of 40."""
    return 0 if after < 16 else 16 + (after - 16) // 40 * 40


def test_no_fairer_adapter_declines_and_gives_the_model_back(host: Host) -> None:
    before = host.weights_hash
    with pytest.raises(DeclinedError, match="take more steps="):
        fitted(host, Judge([0.6, 0.9, 0.9, 0.9]))
    del host.__dict__["weights_hash"]
    assert host.weights_hash == before


def test_saved_and_loaded_it_makes_the_same_images(host: Host, tmp_path: Path) -> None:
    found = fitted(host, Judge([0.9, 0.6, 0.5, 0.5]))
    save_intervention(tmp_path / "fit", found.tensors, found.card)
    loaded = Fitted(*load_intervention(tmp_path / "fit", host))

    def made(one: Fitted) -> list[Any]:
        delta = METHOD.build(Setting(fitted=(one,)), METHOD.read({"strength": "30"}))
        assert isinstance(delta, WeightDelta)
        requests = [Request(row="x", prompt="a nurse", index=i, seed=i) for i in range(2)]
        with host.attached(delta):
            return [s.latents for s in sample(host, requests, SETTINGS, batch_size=2, keep_latents=True)]

    first, second = made(found), made(loaded)
    assert all((one == two).all() for one, two in zip(first, second, strict=True))


@pytest.mark.parametrize(
    "after",
    [
        16 + 40 + 2 + 30,  # in the look after 12 steps
        16 + 40 + 2 + 40 + 2 + 3,  # among the images of the trained model
        16 + 40 + 2 + 40 + 2 + 4 + 30,  # in the look at what they taught
    ],
)
def test_a_training_that_settles_reads_its_shares_and_goes_on_after_a_kill(
    host: Host, tmp_path: Path, after: int
) -> None:
    (plan,) = METHOD.plans(Setting(), METHOD.read({**SMALL, "steps": "2", "settle": "22", "look": "12", "checks": "3"}))
    assert METHOD.fit is not None
    shares = [0.9, 0.6, 0.5, 0.5]
    whole = METHOD.fit(dataclasses.replace(fitting(host, Judge(shares)), scratch=tmp_path / "whole"), plan.values)
    readings = json.loads((tmp_path / "whole" / "readings.json").read_text("utf-8"))["readings"]
    assert list(readings) == ["2", "22", "24"]
    assert {row: set(some) for row, some in readings["2"].items()} == {row: {"female", "male"} for row in ROWS}
    judge, left = Judge(shares), after

    def make(attached: Sequence[Any], requests: Sequence[Request], steps: int | None = None) -> list[Sample]:
        nonlocal left
        left -= len(requests)
        if left < 0:
            raise _Killed
        return fitting(host, judge).make(attached, requests, steps)

    def dying() -> Fitting:
        return dataclasses.replace(fitting(host, judge), make=make, scratch=tmp_path / "again")

    with pytest.raises(_Killed):
        METHOD.fit(dying(), plan.values)
    left = 10_000
    found = METHOD.fit(dying(), plan.values)
    assert all(torch.equal(found.tensors[name], value) for name, value in whole.tensors.items())
