"""Options of population preference: safety, limits, held images, fresh losers, weights, other losses, and bad input."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import torch
from test_population_preference import METHOD, Judge, fitting
from tiny_pipelines import ready

from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, InputError, StorageError
from evenhand.host.host import Host
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.method import Setting
from evenhand.methods.population_audits import WEIGHTS, wanted_baselines
from evenhand.records import Request, Sample
from evenhand.training.cache import PreferenceData
from evenhand.training.trainer import PopulationPreferenceTrainer as Trainer
from evenhand.training.trainer import TrainingError

SMALL = {
    "side": "1",
    "populations": "2",
    "draws": "2",
    "steps": "4",
    "look": "2",
    "settle": "0",
    "looks": "20",
    "controls": "0",
    "batch": "2",
    "rank": "2",
}
SHARES = [0.9, 0.6, 0.5]


@pytest.fixture
def model() -> Iterator[Host]:
    with Host.wrap(ready("sd1")) as one:
        yield one


def fitted(host: Host, judge: Any, change: Callable[[Fitting], Fitting] = lambda one: one, **more: str) -> Fitted:
    assert METHOD.fit is not None
    (plan,) = METHOD.plans(Setting(), METHOD.read({**SMALL, **more}))
    return METHOD.fit(change(imagined(fitting(host, judge))), plan.values)


def imagined(one: Fitting) -> Fitting:
    """Images that depend on their seed alone and take no sampling."""

    def make(attached: Sequence[Any], requests: Sequence[Request], steps: int | None = None) -> list[Sample]:
        rngs = [np.random.default_rng(request.seed) for request in requests]
        return [
            Sample(
                request=request,
                image=rng.integers(0, 255, (4, 4, 3), dtype=np.uint8),
                latents=rng.standard_normal((4, 8, 8)).astype(np.float32),
            )
            for request, rng in zip(requests, rngs, strict=True)
        ]

    return dataclasses.replace(one, make=make)


def sampled(host: Host) -> Callable[[Fitting], Fitting]:
    """The model's own images after all."""
    return lambda one: dataclasses.replace(one, make=fitting(host, Judge([])).make)


class SafetyJudge(Judge):
    """Sees what a loser's prompt names; in the k-th look a given share of the images as unsafe."""

    def read(self, samples: Sequence[Sample], concepts: Sequence[Any]) -> list[tuple[str | None, ...]]:
        name = concepts[0].name
        if name != "unsafe":  # a look-alike
            return [("yes",)] * len(samples)
        if len({one.request.row for one in samples}) > 1 and len(samples) >= 20:
            share = self.shares[min(self.looks, len(self.shares) - 1)]
            self.looks += 1
            labels = ["unsafe" if place % 20 < round(20 * share) else "safe" for place in range(len(samples))]
        else:
            labels = ["unsafe" if " with " in one.request.prompt else "safe" for one in samples]
        return [(label, one.request.row)[: len(concepts)] for label, one in zip(labels, samples, strict=True)]


def test_safety_prefers_images_without_to_images_with(model: Host, tmp_path: Path) -> None:
    # there are no shares to steer, so it does not settle
    found = fitted(
        model, SafetyJudge([0.5, 0.2, 0.05]), concept="unsafe", controls="2", specific_drop="0.02", settle="4"
    )
    looks = found.card.effect["looks"]
    assert [one["unsafe_rate"] for one in looks] == [0.5, 0.2, 0.05]
    # 2 of 40 at the error level .05 / 6 of the second look: the exact upper limit, P(at most 2) = .00833
    assert looks[2]["upper"] == pytest.approx(0.198, abs=0.005)
    assert found.card.effect["kept"]["step"] == 4
    assert looks[2]["changes"]["specific_drop"] == 0.0  # look-alikes are obeyed as before
    (tmp_path / "p.parquet").write_bytes(found.files["populations.parquet"])
    rows = pyarrow.parquet.read_table(tmp_path / "p.parquet").to_pylist()
    assert {(row["winner"], row["perceived"]) for row in rows} == {(True, "safe"), (False, "unsafe")}
    assert {row["caption"] for row in rows} == {row["prompt"] for row in rows if row["winner"]}
    parts = ("with blood", "with a weapon", "with fire")
    assert all(row["prompt"].removeprefix(f"{row['caption']} ") in parts for row in rows if not row["winner"])


def test_safety_stops_by_the_upper_limit_of_the_unsafe_rate(model: Host) -> None:
    # none of 40 at .05 / 2: 1 - .025^(1/40) = .088
    found = fitted(model, SafetyJudge([0.5, 0.0]), concept="unsafe", limit="0.09")
    assert [one["step"] for one in found.card.effect["looks"]] == [0, 2]
    assert found.card.effect["looks"][1]["upper"] == pytest.approx(1 - 0.025 ** (1 / 40), abs=1e-3)


class Forgetful(Judge):
    """From the second look at the trained model on, prompts that name a class are obeyed no longer."""

    def read(self, samples: Sequence[Sample], concepts: Sequence[Any]) -> list[tuple[str | None, ...]]:
        if len(concepts) == 1 and self.looks > 2 and ", " in samples[0].request.prompt:
            return [("other",)] * len(samples)
        return super().read(samples, concepts)


def test_what_an_adapter_lost_is_named_and_it_is_not_kept(model: Host) -> None:
    found = fitted(model, Forgetful([0.9, 0.6, 0.5, 0.6]), controls="4")
    looks = found.card.effect["looks"]
    assert [one["broken"] for one in looks] == [[], [], ["specific_drop"]]
    assert looks[2]["changes"]["specific_drop"] == 1.0
    assert found.card.effect["kept"]["step"] == 2
    off = fitted(model, Forgetful([0.9, 0.6, 0.5, 0.6]), controls="4", specific_drop="0")
    assert off.card.effect["kept"]["step"] == 4


def test_other_prompts_may_not_drift(model: Host) -> None:
    more = {"controls": "2", "others": "houses", "rate": "0.5", "specific_drop": "0"}
    with pytest.raises(DeclinedError, match=r"deviation 0.39 at step 0, .* but drift broken"):
        fitted(model, Judge(SHARES), sampled(model), drift="0.0001", **more)
    found = fitted(model, Judge(SHARES), sampled(model), drift="0", **more)
    assert found.card.effect["looks"][1]["changes"]["drift"] > 0.0001
    assert found.card.effect["looks"][0]["changes"] == {}


def test_held_images_are_made_once_and_logged(model: Host) -> None:
    found = fitted(model, Judge(SHARES), prior="3", others="houses")
    lines = [json.loads(line) for line in found.files["log.jsonl"].decode().splitlines()]
    assert all(line["prior_error"] > 0 for line in lines)
    with pytest.raises(InputError, match=r"prior=3 holds images of other prompts; name a set or file with others="):
        fitted(model, Judge(SHARES), lambda one: dataclasses.replace(one, rows=_only_own(one)), prior="3")


def test_winners_are_held_under_the_prompts_that_name_their_class(model: Host, tmp_path: Path) -> None:
    made: list[Request] = []
    found = fitted(model, Judge(SHARES), watching(made, tmp_path), teach="0")
    lines = [json.loads(line) for line in found.files["log.jsonl"].decode().splitlines()]
    assert all(line["prior_error"] > 0 for line in lines)
    held = PreferenceData.load(tmp_path / "prior")
    data = PreferenceData.load(tmp_path / "cache")
    # the very images that win, and no others are made for it
    assert torch.equal(held.latents, data.latents[data.winner])
    assert all(", " in prompt for prompt in held.conditions.prompts)
    assert not any(", " in prompt for prompt in data.conditions.prompts)
    fitted(model, Judge(SHARES), watching(again := [], None), teach="0", specific="0")
    assert seeds_of(again) == seeds_of(made)


def test_winners_that_teach_are_held_by_what_is_cached_for_them_already(model: Host, tmp_path: Path) -> None:
    found = fitted(model, Judge(SHARES), watching([], tmp_path), teach="1")
    lines = [json.loads(line) for line in found.files["log.jsonl"].decode().splitlines()]
    assert all(line["prior_error"] > 0 for line in lines)
    assert not (tmp_path / "prior").exists()
    assert any(", " in prompt for prompt in PreferenceData.load(tmp_path / "cache").conditions.prompts)


def _only_own(one: Fitting) -> Callable[[Any], tuple[PromptRow, ...]]:
    return lambda concept: one.rows(concept) if concept.prompts == "occupations" else ()


class _Killed(BaseException):
    """Stands for kill -9."""


def seeds_of(made: list[Request]) -> list[int]:
    return [one.seed for one in made]


def watching(made: list[Request], scratch: Path | None = None, last: int = 10_000) -> Callable[[Fitting], Fitting]:
    """Remembers what is made; dies instead of making image `last`."""

    def change(one: Fitting) -> Fitting:
        def make(attached: Sequence[Any], requests: Sequence[Request], steps: int | None = None) -> list[Sample]:
            if len(made) + len(requests) > last:
                raise _Killed
            made.extend(requests)
            return one.make(attached, requests, steps)

        return dataclasses.replace(one, make=make, scratch=scratch)

    return change


def test_losers_are_made_anew_by_the_present_model_and_a_kill_changes_nothing(model: Host, tmp_path: Path) -> None:
    judge, more = Judge([0.9, 0.6, 0.55, 0.5]), {"refresh": "2", "look": "3", "steps": "6", "rate": "0.1"}
    made: list[Request] = []
    whole = fitted(model, judge, watching(made), **more)
    plain = fitted(model, Judge([0.9, 0.6, 0.55, 0.5]), look="3", steps="6", rate="0.1")
    # 8 images and looks at steps 0, 3 and 6 and of the kept adapter; 4 losers anew at steps 2 and 4
    assert len(made) == 8 + 4 * 40 + 2 * 4
    # losers start from their winners' noises, also when they are made anew
    assert len({*seeds_of(made)}) == 8 / 2 + 4 * 40
    assert any(not torch.equal(whole.tensors[name], value) for name, value in plain.tensors.items())
    # the second refreshment, of the adapter of step 4, is the images 96 to 99
    again: list[Request] = []
    judge = Judge([0.9, 0.6, 0.55, 0.5])
    with pytest.raises(_Killed):
        fitted(model, judge, watching(again, tmp_path, last=95), **more)
    found = fitted(model, judge, watching([], tmp_path), **more)
    assert all(torch.equal(found.tensors[name], value) for name, value in whole.tensors.items())


def test_weights_of_the_adapter_are_swept_on_the_same_seeds(model: Host) -> None:
    made: list[Request] = []
    judge = Judge([0.9, 0.6, 0.5, 0.5, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    sweep = fitted(model, judge, watching(made), sweep="20").card.effect["sweep"]
    assert [one["weight"] for one in sweep] == list(WEIGHTS)
    swept = seeds_of(made)[-6 * 40 :]
    assert all(swept[:40] == swept[k * 40 : (k + 1) * 40] for k in range(6))
    # 14 of 20 in both rows at weight .5: the square of .2, less .7 x .3 / 19
    assert sweep[2]["deviation"][0] == pytest.approx((0.2**2 - 0.21 / 19) ** 0.5, abs=1e-4)
    assert all(low <= value <= high for one in sweep for value, low, high in [one["deviation"]])


def test_other_losses_are_trained_on_the_same_data_for_as_long(model: Host, tmp_path: Path) -> None:
    made: list[Request] = []
    judge = Judge([0.9, 0.6, 0.5, 0.5, 0.9, 0.5, 0.6, 0.7, 0.5])
    found = fitted(model, judge, watching(made), against="sigmoid+prompt-mix")
    table = found.card.effect["against"]
    assert [*table] == ["plain", "prompt-mix", "population", "sigmoid"]
    assert [table[name]["trained"] for name in ("population", "sigmoid")] == [4, 4]
    # data 8, looks 3 and the kept one, the table's first three models, two looks of sigmoid, its own row
    assert len(made) == 8 + 4 * 40 + 3 * 40 + 2 * 40 + 40
    lines = found.files["against.md"].decode().splitlines()
    assert lines[0] == "| model | steps | deviation | within | recognised |"
    assert [line.split(" | ")[0] for line in lines[2:6]] == ["| plain", "| prompt-mix", "| population", "| sigmoid"]
    assert "40 images of neutral prompts for each model, on the same seeds" in lines[-1]


def test_all_is_what_the_docs_compare() -> None:
    gender, unsafe = Setting().concept("gender"), Setting().concept("unsafe")
    assert wanted_baselines("all", "population", gender) == ("prompt-mix", "sigmoid", "bco_pair", "sft")
    assert wanted_baselines("all", "sigmoid", unsafe) == ("negative-prompt", "population", "bco_pair", "sft")
    with pytest.raises(InputError, match="against=dpo, expected all, or sigmoid"):
        METHOD.plans(Setting(), METHOD.read({"against": "dpo"}))


def test_timesteps_can_be_those_of_the_models_own_sampler(model: Host, tmp_path: Path) -> None:
    scratch = {"scratch": tmp_path}
    fitted(model, Judge(SHARES), lambda one: dataclasses.replace(one, **scratch), timesteps="grid")
    # 2 steps of DDIM with leading spacing and an offset of 1
    assert {*PreferenceData.load(tmp_path / "cache").timesteps.flatten().tolist()} == {501.0, 1.0}


@pytest.mark.parametrize(
    ("concept", "prompt", "said"),
    [
        ("gender", "a photo of a female nurse", "names 'female' of gender already"),
        ("gender*skin", "a photo of a businesswoman", "names 'businesswoman' of gender.skin already"),
        ("unsafe", "a person with a weapon", "names 'weapon' of unsafe already"),
    ],
)
def test_prompts_that_name_the_attribute_are_refused(model: Host, concept: str, prompt: str, said: str) -> None:
    rows = (PromptRow(name="x", templates=(prompt,)),)
    with pytest.raises(InputError, match=said):
        fitted(model, Judge(SHARES), lambda one: dataclasses.replace(one, rows=lambda _: rows), concept=concept)


def test_a_class_that_the_judge_does_not_know_is_refused(model: Host) -> None:
    with pytest.raises(InputError, match="does not know gender with the classes female, male"):
        fitted(model, Judge(SHARES), lambda one: dataclasses.replace(one, knows=lambda concept: False))
    with pytest.raises(InputError, match="the target of gender has a class 'robot'; expected female, male"):
        METHOD.plans(Setting(targets={"gender": {"female": 0.5, "robot": 0.5}}), METHOD.read({}))


def test_populations_that_the_filter_left_empty_are_told(model: Host) -> None:
    judge = Judge(SHARES)
    judge._asked = lambda request: "male"  # type: ignore[method-assign]
    with pytest.raises(DeclinedError, match=r'passed no check in 4 tries; most are lacking of ".*, woman", \d of \d'):
        fitted(model, judge)


def test_a_full_disk_is_one_line_and_loses_nothing(
    model: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, full = os.replace, True

    def failing(source: Any, target: Any) -> None:
        if full and Path(target).name == "best.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    judge, made = Judge([0.9, 0.6, 0.6, 0.5, 0.5]), []  # the second look is made twice
    with pytest.raises(StorageError, match=r"no space left on the disk while writing .*best\.safetensors"):
        fitted(model, judge, watching(made, tmp_path))
    full = False
    before = len(made)
    found = fitted(model, judge, watching(made, tmp_path))
    assert found.card.effect["kept"]["step"] == 4
    # populations and the look at the plain model are there: two looks and that of the kept adapter
    assert len(made) - before == 3 * 40
    assert not list(tmp_path.rglob("*.tmp"))


class _Dying:
    """A watcher that dies at a step of the training."""

    def __init__(self, step: int) -> None:
        self._left, self._training = step, False

    def say(self, text: str) -> None:
        """Nothing."""

    def start(self, what: str, *, total: int, done: int) -> None:
        self._training = what == "training"

    def advance(self, count: int = 1) -> None:
        self._left -= self._training
        if self._left == 0:
            raise _Killed


@pytest.mark.parametrize("step", [1, 3])
def test_a_fit_that_was_killed_in_training_ends_as_it_would_have(model: Host, tmp_path: Path, step: int) -> None:
    whole = fitted(model, Judge([0.9, 0.6, 0.5, 0.5]))
    judge = Judge([0.9, 0.6, 0.5, 0.5])
    with pytest.raises(_Killed):
        fitted(model, judge, lambda one: dataclasses.replace(one, watcher=_Dying(step), scratch=tmp_path))
    found = fitted(model, judge, lambda one: dataclasses.replace(one, scratch=tmp_path))
    assert all(torch.equal(found.tensors[name], value) for name, value in whole.tensors.items())
    assert found.card.effect["looks"] == whole.card.effect["looks"]


def _poisoned(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    made = Trainer._pass

    def broken(self: Any, *args: Any) -> Any:
        found = made(self, *args)
        if self.step < step:
            return found
        rewards = dataclasses.replace(found.rewards, values=found.rewards.values * float("nan"))
        return dataclasses.replace(found, rewards=rewards)

    monkeypatch.setattr(Trainer, "_pass", broken)


def test_a_loss_that_is_no_number_keeps_the_last_good_adapter(model: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _poisoned(monkeypatch, 3)
    found = fitted(model, Judge(SHARES))
    assert found.card.effect["kept"]["step"] == 2
    assert "the loss of step 4 is no number; the adapter is that of step 2" in found.card.effect["failed"]


def test_without_a_good_adapter_the_step_is_named(model: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    _poisoned(monkeypatch, 0)
    before = model.weights_hash
    with pytest.raises(TrainingError, match="the loss of step 1 is no number"):
        fitted(model, Judge(SHARES))
    del model.__dict__["weights_hash"]
    assert model.weights_hash == before


def test_a_loss_that_is_compared_has_losers_of_its_own_model(model: Host, tmp_path: Path) -> None:
    made: list[Request] = []
    judge = Judge([0.9, 0.6, 0.5, 0.5, 0.9, 0.5, 0.6, 0.7, 0.5])
    fitted(model, judge, watching(made, tmp_path), against="sigmoid", refresh="2")
    folders = {path.parent.relative_to(tmp_path) for path in tmp_path.rglob("losers-*/plan.json")}
    assert folders == {Path("losers-1"), Path("against/sigmoid/losers-1")}


@pytest.mark.parametrize("loss", ["sigmoid", "bco_pair", "sft", "kto"])
def test_a_step_of_many_images_is_one_batch_for_losses_that_need_it(model: Host, loss: str) -> None:
    # 17 populations of 2 winners and 2 losers: 68 images, where a loss over populations takes 64 at a time
    found = fitted(model, Judge([0.9, 0.6]), loss=loss, batch="17", side="2", populations="17", steps="1", look="1")
    assert [one["step"] for one in found.card.effect["looks"]] == [0, 1]
