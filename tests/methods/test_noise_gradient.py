"""The ascent of the mean noise on the toy model, whose direction is known: the difference of its pictures."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.host.differentiable import slopes
from evenhand.host.host import Host
from evenhand.methods import noise_ascents
from evenhand.methods.method import Setting
from evenhand.methods.noise_ascents import row_ascents
from evenhand.methods.noise_estimators import Keep
from evenhand.methods.noise_gradient import ENOUGH, Ascent, Rounds, ascend
from evenhand.methods.noise_looks import Looking
from evenhand.methods.table import METHODS
from evenhand.methods.vector_trials import Trials
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import FITTING_WORLD, toy_fitting, toy_logits

WORLD = ToyWorld()
ROUNDS = Rounds(count=12, batch=8, steps=6)


def noises(number: int) -> torch.Tensor:
    return torch.randn(8, 4, 4, 4, generator=torch.Generator().manual_seed(number))


def ascent(host: Host, prompt: str, sign: int, rounds: Rounds = ROUNDS) -> Ascent:
    """Towards the last class, or with -1 towards the first."""

    def odds(images: torch.Tensor) -> torch.Tensor:
        logits = toy_logits(images, WORLD)
        return sign * (logits[:, 1] - logits[:, 0])

    return ascend(host, [prompt] * rounds.batch, odds, noises, rounds, guidance=1.0)


@pytest.mark.parametrize(("prompt", "sign"), [("a nurse", 1), ("a mechanic", -1)])
def test_it_finds_the_planted_direction(prompt: str, sign: int) -> None:
    woman, man = WORLD.pictures()
    with toy_host(WORLD) as host:
        found = ascent(host, prompt, sign)
    planted = sign * (man - woman).flatten()
    assert torch.cosine_similarity(found.axis.flatten(), planted, dim=0) > 0.93
    assert float(found.axis.norm()) == pytest.approx(1.0, abs=1e-5)
    assert found.agreement > 0.8


def test_it_stops_once_most_images_show_the_class() -> None:
    with toy_host(WORLD) as host:
        found = ascent(host, "a nurse", 1)
        evaluations = host.evaluations
    last = torch.tensor(found.values[-16:])
    assert (last > 0).float().mean() >= ENOUGH
    assert len(found.values) < ROUNDS.count * ROUNDS.batch
    assert evaluations == 3 * len(found.values) * ROUNDS.steps <= ROUNDS.rows


def test_steps_have_one_length() -> None:
    with toy_host(WORLD) as host:
        found = ascent(host, "a nurse", 1, Rounds(count=1, batch=8, steps=6, stride=0.7))
    assert found.length == pytest.approx(0.7, abs=1e-5)
    assert found.agreement == 0.0  # one round has no other to agree with


@pytest.mark.parametrize("lengths", [True, False])
def test_gradients_count_alike_or_with_their_lengths(lengths: bool) -> None:
    """One image's odds rise ten times as steeply."""
    steep = torch.tensor([10.0] + [1.0] * 7)

    def odds(images: torch.Tensor) -> torch.Tensor:
        return steep * toy_logits(images, WORLD)[:, 1] ** 3

    with toy_host(WORLD) as host:
        found = ascend(
            host, ["a nurse"] * 8, odds, noises, Rounds(count=1, batch=8, steps=6), guidance=1.0, lengths=lengths
        )
        each = slopes(host, ["a nurse"] * 8, noises(0), odds, steps=6, guidance=1.0).gradients
    alike = each / each.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    wanted, other = (
        (one.mean(dim=0) / one.mean(dim=0).norm()) for one in ((each, alike) if lengths else (alike, each))
    )
    assert torch.allclose(found.axis, wanted, atol=1e-4)
    assert not torch.allclose(found.axis, other, atol=1e-2)


def test_an_image_without_a_gradient_counts_for_nothing() -> None:
    def broken(images: torch.Tensor) -> torch.Tensor:
        odds = toy_logits(images, WORLD)[:, 1]
        return torch.cat([odds[:4], odds[4:] * torch.nan])

    with toy_host(WORLD) as host:
        found = ascend(host, ["a nurse"] * ROUNDS.batch, broken, noises, ROUNDS, guidance=1.0)
    assert bool(found.axis.isfinite().all())
    assert found.length > 0


def test_a_judge_without_gradients_is_said() -> None:
    method = METHODS["noise-direction"]
    (plan,) = method.plans(Setting(), method.read({}))
    assert method.fit is not None
    with toy_host(FITTING_WORLD) as host:
        fitting = dataclasses.replace(toy_fitting(host, FITTING_WORLD, rows=("a nurse",)), logits=None)
        with pytest.raises(InputError, match="gives no gradients; use estimator=paired"):
            method.fit(fitting, plan.values)


@pytest.mark.parametrize(
    ("alike", "lengths", "kept"),
    [
        ((3.0, 0.9), (2.0, 0.9), "lengths"),  # both arrive, one at two thirds of the other's way
        ((3.0, 0.9), (2.6, 1.0), "alike"),  # both arrive, about as far
        ((3.0, 0.9), (2.0, 0.8), "alike"),  # only one arrives
        ((3.0, 0.1), (5.0, 0.9), "lengths"),
        ((3.0, 0.4), (2.0, 0.2), "alike"),  # none arrives
        ((3.0, 0.2), (5.0, 0.4), "lengths"),
    ],
)
def test_of_two_ways_to_average_the_one_that_arrives_sooner_is_kept(
    alike: tuple[float, float], lengths: tuple[float, float], kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def planned(*args: Any, **more: Any) -> Ascent:
        asked.append("lengths" if more["lengths"] else "alike")
        length, shown = lengths if more["lengths"] else alike
        axis = torch.full((4, 4, 4), -1.0 if more["lengths"] else 1.0) / 8
        given = more["lengths"]
        return Ascent(axis=axis, length=length, agreement=0.5, coordinates=(), values=(), shown=shown, lengths=given)

    monkeypatch.setattr(noise_ascents, "ascend", planned)
    with toy_host(FITTING_WORLD) as host:
        fitting = toy_fitting(host, FITTING_WORLD, rows=("a nurse",))
        trials = Trials.judged(fitting, load_concept("gender"), "a photo of a person")
        neutral = Looking(trials=trials, concepts=(trials.concept,)).neutral(4)["gender"]
        found = row_ascents(trials, neutral, ("female", "male"), Keep())
    assert sorted(asked) == ["alike", "lengths"]
    told = found.effect["ascents"]["a nurse"]
    length, shown = lengths if kept == "lengths" else alike
    assert (abs(told["length"]), told["shown"]) == (length, shown)
    assert told["gradients"] == {"alike": "alike", "lengths": "with lengths"}[kept]
    sign = 1 if told["length"] > 0 else -1
    assert float(found.axes.own["a nurse"].sum() * sign) == pytest.approx(-8.0 if kept == "lengths" else 8.0)
