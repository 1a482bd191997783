"""The stereotype corrector end to end on the toy model, and its score on made-up trajectories."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from evenhand.errors import DeclinedError, InputError
from evenhand.host.host import Host
from evenhand.host.noise_level import NoiseLevel
from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.preference_score import Finished, accuracy, noised, score_of, tensors_of, train_score, unit
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
        (plan,) = METHOD.plans(Setting(), METHOD.read({"calibrate": "12", "rounds": "150"}))
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


@pytest.mark.parametrize(
    ("perceived", "reason"),
    [
        (lambda place: "female", "no prompt shows two classes of gender, also where it names them; use concept-vector"),
        # what is perceived has nothing to do with the image
        (lambda place: ("female", "male")[place % 2], "use concept-vector or prompt-mix"),
    ],
)
def test_a_model_whose_latents_say_nothing_is_declined(
    host: Host, perceived: Callable[[int], str], reason: str
) -> None:
    fitting = toy_fitting(host, FITTING_WORLD, rows=ROWS)
    blind = type(fitting)(
        **{**vars(fitting), "read": lambda samples, concepts: [(perceived(k),) for k in range(len(samples))]}
    )
    small = {"calibrate": "2", "images": "4", "explicit": "4", "rounds": "20"}
    (plan,) = METHOD.plans(Setting(), METHOD.read(small))
    assert METHOD.fit is not None
    with pytest.raises(DeclinedError, match=reason):
        METHOD.fit(blind, plan.values)


@pytest.mark.parametrize("name", ["unsafe", "gender*skin"])
def test_what_it_does_not_correct_is_refused(host: Host, name: str) -> None:
    (plan,) = METHOD.plans(Setting(), METHOD.read({"concept": name}))
    assert METHOD.fit is not None
    with pytest.raises(InputError, match="one attribute at a time"):
        METHOD.fit(toy_fitting(host, FITTING_WORLD, rows=ROWS), plan.values)


def level_of(timestep: float) -> NoiseLevel:
    """A cosine schedule."""
    turn = timestep / 1000 * math.pi / 2
    return NoiseLevel(alpha=math.cos(turn), sigma=math.sin(turn), prediction="epsilon")


def finished(images: int, seed: int, *, flat: bool = False) -> Finished:
    """Two classes whose latents differ by a corner, in each of two rows; the rest of a latent is chance."""
    rng = torch.Generator().manual_seed(seed)
    latents = 0.5 * torch.randn(images, 4, 8, 8, generator=rng)
    labels = torch.arange(images) % 2
    latents[labels == 1, 0, :4, :4] += 2.0
    if flat:
        latents = latents.flatten(2).transpose(1, 2)
    return Finished(latents=latents, labels=labels, rows=torch.arange(images) // 2 % 2)


@pytest.mark.parametrize("flat", [False, True])
def test_a_score_reads_more_the_less_noise_there_is(flat: bool) -> None:
    score = train_score(("a", "b"), finished(80, 1, flat=flat), level_of, rounds=100)
    reads = accuracy(score, finished(200, 2, flat=flat), level_of, [1000.0, 500.0, 0.0])
    # at the highest level nothing of the image is left: 200 guesses, .5 to within three standard errors of .035
    assert reads[0] == pytest.approx(0.5, abs=0.11)
    assert reads[1] >= 0.85
    assert reads[2] >= 0.95


def test_its_gradient_points_at_what_the_classes_differ_in() -> None:
    score = train_score(("a", "b"), finished(80, 1), level_of, rounds=100)
    times = torch.full((50,), 300.0)
    latents = noised(finished(50, 3).latents, torch.randn(50, 4, 8, 8, generator=torch.Generator()), times, level_of)
    leaf = latents.requires_grad_(True)
    (gradient,) = torch.autograd.grad(score.log_chances(leaf, 300.0)[:, 1].sum(), leaf)
    mean = gradient.mean(dim=0)
    corner = mean[0, :4, :4]
    assert (corner > 0).all()
    # 16 of 256 values hold the class; free weights that knew 80 images by heart would spread over all of them
    assert corner.square().sum() / mean.square().sum() >= 0.5


def test_pairs_at_one_level_share_their_noise_and_unit_scale() -> None:
    clean = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    seen = noised(clean, noise, torch.tensor([0.0, 1000.0]), level_of)
    assert torch.allclose(seen[0], unit(clean[:1])[0], atol=1e-5)  # no noise at all
    assert torch.allclose(seen[1], unit(noise[1:])[0], atol=1e-5)  # nothing else


def test_a_score_is_the_same_again_from_the_same_seed_and_from_its_tensors() -> None:
    one, two = (train_score(("a", "b"), finished(20, 1), level_of, rounds=5, seed=3) for _ in range(2))
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(one.log_chances(latents, 500.0), two.log_chances(latents, 500.0))
    again = score_of(tensors_of(one), ("a", "b"))
    assert torch.equal(again.log_chances(latents, 500.0), one.log_chances(latents, 500.0))
    assert torch.allclose(again.log_chances(latents, 500.0).exp().sum(dim=1), torch.ones(2))


def test_training_leaves_the_streams_of_chance_alone_and_needs_two_classes_in_a_row() -> None:
    torch.manual_seed(7)
    expected = torch.randn(3)
    torch.manual_seed(7)
    train_score(("a", "b"), finished(20, 1), level_of, rounds=2)
    assert torch.equal(torch.randn(3), expected)
    data = finished(20, 1)
    apart = dataclasses.replace(data, rows=data.labels)
    with pytest.raises(ValueError, match="no prompt shows two classes"):
        train_score(("a", "b"), apart, level_of, rounds=2)
