"""The stereotype corrector end to end on the toy model, and its score on made-up trajectories."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from evenhand.errors import DeclinedError, InputError
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.preference_score import Trajectories, accuracy, score_of, tensors_of, train_score
from evenhand.methods.spec import parse_spec
from evenhand.methods.stereotype_corrector import METHOD
from evenhand.methods.table import assigned, interventions, recalled
from evenhand.records import Request, Settings
from evenhand.testing.toy import toy_host
from evenhand.testing.toy_fitting import FITTING_WORLD, toy_fitting, toy_label

ROWS = ("a nurse", "a mechanic")
SETTINGS = Settings(steps=20, guidance=1.0)


@pytest.fixture
def host() -> Iterator[Host]:
    with toy_host(FITTING_WORLD) as one:
        yield one


@pytest.fixture(scope="module")
def gender() -> Fitted:
    with toy_host(FITTING_WORLD) as one:
        (plan,) = METHOD.plans(Setting(), METHOD.read({"calibrate": "12"}))
        assert METHOD.fit is not None
        return METHOD.fit(toy_fitting(one, FITTING_WORLD, rows=ROWS), plan.values)


def shown(host: Host, fitted: Fitted, spec: str, images: int = 120) -> list[str]:
    setting = Setting(fitted=(fitted,), targets={"gender": {"female": 0.5, "male": 0.5}})
    requests = [Request(row=ROWS[0], prompt=ROWS[0], index=k, seed=5_000 + k) for k in range(images)]
    with host.attached(*interventions(parse_spec(spec), setting)):
        made = sample(host, requests, SETTINGS, batch_size=40, keep_latents=True)
        return [toy_label(one, FITTING_WORLD) for one in made]


def test_every_image_shows_its_class_far_more_often_than_without(host: Host, gender: Fitted) -> None:
    spec = "stereotype-corrector"
    wanted = assigned(parse_spec(spec), Setting(targets={"gender": {"female": 0.5, "male": 0.5}}))["gender"]
    labels = shown(host, gender, spec)
    hits = sum(label == wanted.of(ROWS[0], k) for k, label in enumerate(labels)) / len(labels)
    assert hits >= 0.8  # without it half of them: 80 % of nurses are women, half of the images are to show a man
    assert labels.count("female") / len(labels) == pytest.approx(0.5, abs=0.15)


def test_the_card_says_from_when_on_the_class_can_be_read(gender: Fitted) -> None:
    reads = gender.card.effect["reads"]
    assert len(reads) == 20
    assert reads[-1] >= 0.9
    assert gender.card.effect["success"]["male"] > gender.card.effect["plain"]["male"]


def test_saved_and_loaded_it_is_the_same(host: Host, gender: Fitted, tmp_path: Path) -> None:
    save_intervention(tmp_path / "fit", gender.tensors, gender.card)
    again = Fitted(*load_intervention(tmp_path / "fit", host))
    assert recalled(parse_spec(f"{tmp_path}/fit"), [again]).parameters == {"concept": "gender"}
    assert shown(host, again, "stereotype-corrector", 20) == shown(host, gender, "stereotype-corrector", 20)


def test_depiction_takes_the_least_share_of_the_groups_as_its_target(gender: Fitted) -> None:
    effect = {**gender.card.effect, "with_groups": {"coastal": 0.1, "inland": 0.8}}
    card = type(gender.card)(**{**vars(gender.card), "effect": effect})
    values = METHOD.read({"concept": "origin", "attribute": "gender"})
    built = METHOD.build(Setting(fitted=(Fitted(gender.tensors, card),)), values)
    call = type("Call", (), {"images": 100, "prompts": None, "requests": None})
    names = [one[0] for one in built.wanted(call)]
    assert names.count("female") == 10
    (plan,) = METHOD.plans(Setting(), values)
    assert (plan.values["concept"], plan.values["group"]) == ("gender", "origin")


def test_a_model_whose_latents_say_nothing_is_declined(host: Host) -> None:
    fitting = toy_fitting(host, FITTING_WORLD, rows=ROWS)
    blind = type(fitting)(**{**vars(fitting), "read": lambda samples, concepts: [("female",) for _ in samples]})
    (plan,) = METHOD.plans(Setting(), METHOD.read({"calibrate": "2", "images": "4"}))
    assert METHOD.fit is not None
    with pytest.raises(DeclinedError, match="use concept-vector or prompt-mix"):
        METHOD.fit(blind, plan.values)


@pytest.mark.parametrize("name", ["unsafe", "gender*skin"])
def test_what_it_does_not_correct_is_refused(host: Host, name: str) -> None:
    (plan,) = METHOD.plans(Setting(), METHOD.read({"concept": name}))
    assert METHOD.fit is not None
    with pytest.raises(InputError, match="one attribute at a time"):
        METHOD.fit(toy_fitting(host, FITTING_WORLD, rows=ROWS), plan.values)


def trajectories(images: int, seed: int) -> Trajectories:
    """Two classes whose latents differ by a corner, more from step to step; the noise of a pair is the same."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(images // 2, 1, 4, 8, 8, generator=rng).repeat(2, 6, 1, 1, 1)
    labels = torch.arange(2).repeat_interleave(images // 2)
    signal = torch.zeros(4, 8, 8)
    signal[0, :3, :3] = 1.0
    size = torch.linspace(0, 2, 6).view(1, 6, 1, 1, 1)
    pairs = torch.arange(images // 2).repeat(2)
    return Trajectories(
        latents=noise + labels.view(-1, 1, 1, 1, 1) * size * signal,
        timesteps=torch.linspace(999, 0, 6),
        labels=labels,
        pairs=pairs,
    )


def test_a_score_reads_more_the_less_noise_there_is() -> None:
    score = train_score(("a", "b"), trajectories(80, 1), rounds=150)
    reads = accuracy(score, trajectories(200, 2))
    assert reads[0] == pytest.approx(0.5, abs=0.12)  # at the first step both classes have the same latents
    assert reads[-1] >= 0.9


def test_a_score_is_the_same_again_from_the_same_seed_and_from_its_tensors() -> None:
    one, two = (train_score(("a", "b"), trajectories(20, 1), rounds=5, seed=3) for _ in range(2))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one.log_chances(latents, 500.0), two.log_chances(latents, 500.0))
    again = score_of(tensors_of(one), ("a", "b"))
    assert torch.equal(again.log_chances(latents, 500.0), one.log_chances(latents, 500.0))
    assert torch.allclose(again.log_chances(latents, 500.0).exp().sum(dim=1), torch.ones(2))
