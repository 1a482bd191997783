"""Selection of noises on the toy model, whose shares are known, and rehearsals on real pipelines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from diffusers import DiffusionPipeline

from evenhand.errors import DeclinedError, EvenhandWarning, InputError
from evenhand.host.host import Host
from evenhand.host.rehearsal import seed_of
from evenhand.host.sampler import sample
from evenhand.interventions.noise_selection import NoiseSelection
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.negative_prompt import METHOD as NEGATIVE
from evenhand.methods.selection_cost import best_bar, expected_cost, together
from evenhand.methods.selection_fit import step_after
from evenhand.methods.selection_reader import LatentJudge, hit_rates, judge_of, tensors_of, train_judge
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, assigned, interventions
from evenhand.records import Request, Settings
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import toy_fitting, toy_label

WORLD = ToyWorld(
    prompts={
        "": (0.5, 0.5),
        "a photo of a person": (0.5, 0.5),
        "a photo of a woman": (0.98, 0.02),
        "a photo of a man": (0.02, 0.98),
        "a photo of a nurse": (0.8, 0.2),
        "a photo of a mechanic": (0.25, 0.75),
        "a photo of a carpenter": (0.0001, 0.9999),
        "a female nurse": (0.99, 0.01),
    }
)
ROWS = ("a photo of a nurse", "a photo of a mechanic")
SETTINGS = Settings(steps=20, guidance=1.0)


@pytest.fixture
def host() -> Iterator[Host]:
    with toy_host(WORLD) as one:
        yield one


def fitted(host: Host, spec: str = "noise-selection:images=120", rows: tuple[str, ...] = ROWS) -> Fitted:
    method = METHODS["noise-selection"]
    (plan,) = method.plans(Setting(), method.read(parse_spec(spec).parameters))
    assert method.fit is not None
    return method.fit(toy_fitting(host, WORLD, rows=rows), plan.values)


@pytest.fixture(scope="module")
def gender() -> Fitted:
    with toy_host(WORLD) as one:
        return fitted(one)


def requests(row: str, images: int) -> list[Request]:
    return [Request(row=row, prompt=row, index=k, seed=10_000 + k) for k in range(images)]


def made(host: Host, gender: Fitted, spec: str = "noise-selection", row: str = ROWS[0], images: int = 200) -> list:
    with host.attached(*interventions(parse_spec(spec), Setting(fitted=(gender,)))):
        return list(sample(host, requests(row, images), SETTINGS, batch_size=50, keep_latents=True))


@pytest.mark.parametrize("row", ROWS)
def test_every_image_shows_its_class(host: Host, gender: Fitted, row: str) -> None:
    setting = Setting(fitted=(gender,))
    wanted = assigned(parse_spec("noise-selection"), setting)["gender"]
    samples = made(host, gender, row=row)
    hits = [toy_label(one, WORLD) == wanted.of(row, one.request.index) for one in samples]
    assert sum(hits) / len(hits) >= 0.97
    assert 0.45 <= sum(toy_label(one, WORLD) == "female" for one in samples) / len(samples) <= 0.55


def test_an_image_that_shows_its_class_already_is_the_plain_one(host: Host, gender: Fitted) -> None:
    plain = list(sample(host, requests(ROWS[0], 60), SETTINGS, batch_size=30, keep_latents=True))
    chosen = made(host, gender, "noise-selection:class=female", images=60)
    kept = [k for k, one in enumerate(chosen) if one.evidence["noise-selection"]["tried"] == 1]
    assert len(kept) > 15
    for k in kept:
        assert toy_label(plain[k], WORLD) == "female"
        assert abs(plain[k].latents - chosen[k].latents).max() < 1e-4


def test_within_a_class_the_images_are_the_models_own(host: Host, gender: Fitted) -> None:
    # each is what the plain pipeline makes of some noise: finished latents lie at a picture of the toy, not between
    for one in made(host, gender, "noise-selection:class=male", images=50):
        likeness = WORLD.pictures().flatten(1) @ torch.from_numpy(one.latents).flatten() / 64
        assert likeness.max() > 0.9


def test_evaluations_are_those_of_the_evidence(host: Host, gender: Fitted) -> None:
    share, before = gender.card.calibration["share"][""], host.evaluations
    samples = made(host, gender, images=100)
    looks = sum(one.evidence["noise-selection"]["tried"] for one in samples)
    ends = sum(one.evidence["noise-selection"]["finished"] for one in samples)
    assert host.evaluations - before == looks * (step_after(share, 20) + 1) + ends * 20
    foreseen = [rows[ROWS[0]]["cost"] for rows in gender.card.effect["bars"].values()]
    assert (host.evaluations - before) / (100 * 20) == pytest.approx(sum(foreseen) / 2, rel=0.35)


def test_the_expected_cost_by_hand() -> None:
    # a tenth natural, .9 of them accepted and .1 of the others: .09 + .09 accepted, half of those right
    cost, right = expected_cost(0.1, {"hit": 0.9, "false": 0.1}, 0.2)
    assert right == pytest.approx(0.5)
    assert cost == pytest.approx((0.2 + 0.18) / 0.09)
    assert expected_cost(1.0, {"hit": 1.0, "false": 0.0}, 0.2) == pytest.approx((1.2, 1.0))
    assert expected_cost(0.0, {"hit": 0.9, "false": 0.1}, 0.2) == (math.inf, 0.0)


def test_the_bar_is_the_cheapest_and_rises_where_the_class_is_rare() -> None:
    # log-odds of the first class: its own images stand at 2 and 0, others at 1 and -2, half of each
    odds = torch.tensor([2.0, 0.0, 1.0, -2.0]).repeat_interleave(50)
    chances = torch.nn.functional.logsigmoid(torch.stack([odds, -odds], dim=1))
    labels = torch.tensor([0, 1]).repeat_interleave(100)
    common = best_bar(chances, labels, 0, {0: 0.8, 1: 0.2}, 0.2)
    assert -2 < common.least <= 0  # all of its own; (.2 + .8 + .1) / .8 = 1.4, above 1: (.2 + .4) / .4 = 1.5
    assert common.cost == pytest.approx(1.4, abs=0.03)
    rare = best_bar(chances, labels, 0, {0: 0.05, 1: 0.95}, 0.05)
    assert 1 < rare.least <= 2  # (.05 + .025) / .025 = 3; with all of its own (.05 + .05 + .475) / .05 = 11.5
    assert rare.cost == pytest.approx(3.0, abs=0.5)
    assert rare.right > 0.8
    assert best_bar(chances, labels, 0, {0: 0.0, 1: 1.0}, 0.2).cost < math.inf


def test_a_joint_is_accepted_where_its_factors_just_are() -> None:
    assert together([1.3]) == 1.3
    # .5 and .5 make .25, odds of a third
    assert together([0.0, 0.0]) == pytest.approx(math.log(1 / 3))


def test_the_card_says_natural_shares_and_nats(gender: Fitted) -> None:
    card = gender.card
    assert card.calibration["natural female"][ROWS[0]] == pytest.approx(0.8, abs=0.1)
    p = card.calibration["natural female"][ROWS[0]]
    by_hand = 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
    assert card.effect["nats"][ROWS[0]] == pytest.approx(by_hand, abs=1e-3)
    assert card.effect["late_accuracy"] >= 0.95
    assert set(card.effect["bars"]) == {"female", "male"}
    assert card.calibration["least male"][ROWS[0]] == card.effect["bars"]["male"][ROWS[0]]["least"]


def test_a_class_that_hardly_appears_is_declined(host: Host) -> None:
    rare = fitted(host, "noise-selection:images=200,share=0.48", (*ROWS, "a photo of a carpenter"))
    with pytest.warns(EvenhandWarning, match=r"carpenter: female has a natural share of at most 0\.01"):
        (one,) = interventions(parse_spec("noise-selection"), Setting(fitted=(rare,)))
    with host.attached(one):
        (left,) = sample(host, requests("a photo of a carpenter", 1), SETTINGS)
    assert "noise-selection" not in left.evidence
    always = dataclasses.replace(
        rare,
        card=dataclasses.replace(
            rare.card, calibration={**rare.card.calibration, "upper female": dict.fromkeys((*ROWS, ""), 0.01)}
        ),
    )
    with pytest.raises(DeclinedError, match=r"at most 0\.010 .*use concept-vector"):
        interventions(parse_spec("noise-selection:class=female"), Setting(fitted=(always,)))


def test_latents_that_do_not_tell_are_declined(host: Host) -> None:
    fitting = toy_fitting(host, WORLD, rows=ROWS)
    blind = dataclasses.replace(
        fitting, read=lambda samples, concepts: [(("female", "male")[one.request.seed % 2],) for one in samples]
    )
    method = METHODS["noise-selection"]
    assert method.fit is not None
    with pytest.raises(DeclinedError, match="use concept-vector"):
        method.fit(blind, method.read({"images": "60", "share": "0.48"}))


def test_a_prompt_that_names_the_class_keeps_its_bits(host: Host, gender: Fitted) -> None:
    (plain,) = sample(host, requests("a female nurse", 1), SETTINGS, keep_latents=True)
    with host.attached(*interventions(parse_spec("noise-selection:class=male"), Setting(fitted=(gender,)))):
        (one,) = sample(host, requests("a female nurse", 1), SETTINGS, keep_latents=True)
    assert (plain.latents == one.latents).all()


def test_tries_are_bounded_and_the_best_is_kept(host: Host, gender: Fitted) -> None:
    samples = made(host, gender, "noise-selection:class=male,tries=2", images=60)
    told = [one.evidence["noise-selection"] for one in samples]
    assert max(one["tried"] for one in told) == 2
    assert not all(one["shown"] for one in told)
    assert all(one["finished"] >= 1 for one in told)


def test_nothing_else_acts_on_the_same_call(host: Host, gender: Fitted) -> None:
    (one,) = interventions(parse_spec("noise-selection"), Setting(fitted=(gender,)))
    other = NEGATIVE.build(Setting(), NEGATIVE.read({"text": "a photo of a man"}))
    with host.attached(one, other) as call, pytest.raises(InputError, match="attach it alone"):
        call(ROWS[0], num_inference_steps=4)


def test_it_is_saved_and_loaded(host: Host, gender: Fitted, tmp_path: Path) -> None:
    save_intervention(tmp_path / "fit", gender.tensors, gender.card)
    again = Fitted(*load_intervention(tmp_path / "fit", host))
    assert again.card == gender.card
    one, other = (made(host, some, images=20) for some in (gender, again))
    assert all((a.latents == b.latents).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("noise-selection:concept=unsafe", "gives an attribute its shares"),
        ("noise-selection:share=1.5", "share of the steps"),
        ("noise-selection:concept=skin", "does not know skin"),
    ],
)
def test_what_cannot_be_fitted_is_refused(host: Host, spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fitted(host, spec)


def test_a_judge_learns_a_pattern_and_survives_storage() -> None:
    rng = torch.Generator().manual_seed(1)
    pattern = torch.randn(4, 8, 8, generator=rng)
    labels = torch.randint(0, 2, (300,), generator=rng)
    noise = torch.randn(300, 4, 8, 8, generator=rng)
    latents = noise + (labels[:, None, None, None] * 2 - 1) * 0.5 * pattern
    held = torch.arange(300) % 3 == 0
    judge = train_judge(("a", "b"), noise, latents, labels, held, rounds=200)
    (right_a, _), (_, right_b) = hit_rates(judge, noise[held], latents[held], labels[held])
    assert right_a + right_b >= 95
    again = judge_of(tensors_of({"early": judge}), "early", ("a", "b"))
    assert torch.equal(again(noise[:3], latents[:3]), judge(noise[:3], latents[:3]))
    packed = LatentJudge(("a", "b"), 4, flat=True)
    assert packed(noise[:2].flatten(2).mT, latents[:2].flatten(2).mT).shape == (2, 2)


class _Told:
    """A reader that says what it is told, row after row."""

    classes = ("a", "b")

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    def __call__(self, noise: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        found = [self._answers.pop(0) for _ in range(len(noise))]
        return torch.tensor([[0.0, -5.0] if one == "a" else [-5.0, 0.0] for one in found])


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux"])
def test_a_rehearsal_ends_in_the_pipelines_own_image(pipeline: Callable[[str], DiffusionPipeline], family: str) -> None:
    """The first noise is refused early, the second at the end; the third's image is that of a plain call from it."""
    with Host.wrap(pipeline(family)) as host:
        selection = NoiseSelection(
            name="selection",
            early=_Told("b", "a", "a"),
            late=_Told("b", "a"),
            share=0.5,
            wanted=lambda call: [("a", 0.0)],
        )
        drawn: list[torch.Tensor] = []
        prepare = host.pipe.prepare_latents

        def recorded(*args: object, **kwargs: object) -> object:
            found = prepare(*args, **kwargs)
            drawn.append(found[0] if isinstance(found, tuple) else found)
            return found

        settings = {"num_inference_steps": 4, "guidance_scale": 3.0, "output_type": "latent", "height": 16, "width": 16}
        host.pipe.prepare_latents = recorded
        before = host.evaluations
        with host.attached(selection) as call:
            found = call("a nurse", generator=torch.Generator("cpu").manual_seed(3), **settings).images
            told = call.last.evidence["selection"]
        host.pipe.prepare_latents = prepare
        assert told == [{"tried": 3, "finished": 2, "shown": True}]
        rows = (host.evaluations - before) / (3 * 2 + 2 * 4)
        assert rows in (1, 2)  # two rows a step where guidance is classifier-free
        scale = float(getattr(host.pipe.scheduler, "init_noise_sigma", 1.0))
        own = drawn[0] / scale
        rng = torch.Generator("cpu").manual_seed(seed_of(own[0], 2))
        third = torch.randn(own[0].shape, generator=rng)[None]
        plain = host.pipe("a nurse", latents=third, **settings).images
        assert torch.allclose(found, plain, atol=1e-5)
        again = host.pipe("a nurse", generator=torch.Generator("cpu").manual_seed(3), **settings).images
        assert torch.isfinite(again).all()
        assert not torch.allclose(again, plain, atol=1e-3)
