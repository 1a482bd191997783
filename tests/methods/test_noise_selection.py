"""Selection of noises on the toy model, whose shares are known, and rehearsals on real pipelines."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from diffusers import DiffusionPipeline

from evenhand.concepts.wordings import FRAMES
from evenhand.errors import DeclinedError, EvenhandWarning, InputError
from evenhand.host.host import Host
from evenhand.host.rehearsal import seed_of
from evenhand.host.sampler import sample
from evenhand.interventions.implied_classes import ImpliedClasses, ImpliedReading, implied_chances, step_after
from evenhand.interventions.noise_selection import NoiseSelection, Wanted
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted
from evenhand.methods.method import Setting
from evenhand.methods.negative_prompt import METHOD as NEGATIVE
from evenhand.methods.selection_cost import best_bar, expected_cost, together
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, assigned, interventions
from evenhand.records import Request, Settings
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import GENDER_PROMPTS, toy_fitting, toy_label

WORLD = ToyWorld(
    prompts={
        **GENDER_PROMPTS,
        "a photo of a nurse": (0.8, 0.2),
        "a photo of a mechanic": (0.25, 0.75),
        "a photo of a carpenter": (0.0001, 0.9999),
        "a female nurse": (0.99, 0.01),
        # by name, in each of the wordings that fits and audits use
        **{
            f"{frame} a {subject}, {word}".lstrip(): shares
            for frame in FRAMES
            for subject in ("nurse", "mechanic", "carpenter")
            for word, shares in (("woman", (0.98, 0.02)), ("man", (0.02, 0.98)))
        },
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
    look, before = gender.card.calibration["look"][""], host.evaluations
    # one image a call, so that no reading is padded
    with host.attached(*interventions(parse_spec("noise-selection"), Setting(fitted=(gender,)))):
        samples = list(sample(host, requests(ROWS[0], 100), SETTINGS, batch_size=1, pad=False))
    looks = sum(one.evidence["noise-selection"]["tried"] for one in samples)
    ends = sum(one.evidence["noise-selection"]["finished"] for one in samples)
    assert host.evaluations - before == looks * (step_after(look, 20) + 1 + 2) + ends * (20 + 2)
    foreseen = [rows[ROWS[0]]["cost"] for rows in gender.card.effect["bars"].values()]
    assert (host.evaluations - before) / (100 * 20) == pytest.approx(sum(foreseen) / 2, rel=0.35)


def test_the_expected_cost_by_hand() -> None:
    # a tenth natural, .9 of them accepted and .1 of the others: .09 + .09 accepted, half of those right
    cost, right = expected_cost(0.1, {"hit": 0.9, "false": 0.1}, 0.2)
    assert right == pytest.approx(0.5)
    assert cost == pytest.approx((0.2 + 0.18) / 0.09)
    assert expected_cost(1.0, {"hit": 1.0, "false": 0.0}, 0.2) == pytest.approx((1.2, 1.0))
    # a reading on the way of each image that is finished
    assert expected_cost(0.1, {"hit": 0.9, "false": 0.1}, 0.2, 1.1)[0] == pytest.approx((0.2 + 1.1 * 0.18) / 0.09)
    assert expected_cost(0.0, {"hit": 0.9, "false": 0.1}, 0.2) == (math.inf, 0.0)


def test_the_bar_is_the_cheapest_and_rises_where_the_class_is_rare() -> None:
    # log-odds of the first class: its own images stand at 2 and 0, others at 1 and -2, half of each
    odds = torch.tensor([2.0, 0.0, 1.0, -2.0]).repeat_interleave(50)
    labels = torch.tensor([0, 1]).repeat_interleave(100)
    common = best_bar(odds, labels, 0, {0: 0.8, 1: 0.2}, 0.2)
    assert -2 < common.least <= 0  # all of its own; (.2 + .8 + .1) / .8 = 1.4, above 1: (.2 + .4) / .4 = 1.5
    assert common.cost == pytest.approx(1.4, abs=0.03)
    rare = best_bar(odds, labels, 0, {0: 0.05, 1: 0.95}, 0.05)
    assert 1 < rare.least <= 2  # (.05 + .025) / .025 = 3; with all of its own (.05 + .05 + .475) / .05 = 11.5
    assert rare.cost == pytest.approx(3.0, abs=0.5)
    assert rare.right > 0.8
    assert best_bar(odds, labels, 0, {0: 0.0, 1: 1.0}, 0.2).cost < math.inf


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
    assert card.effect["accuracy"][str(card.calibration["check"][""])] >= 0.95
    assert set(card.effect["bars"]) == {"female", "male"}
    assert set(card.calibration["least male"]) == set(card.calibration["shown male"]) == {*ROWS, ""}


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


def test_what_was_saved_with_trained_judges_is_refused(gender: Fitted) -> None:
    calibration = {name: table for name, table in gender.card.calibration.items() if name not in ("look", "check")}
    old = dataclasses.replace(gender, card=dataclasses.replace(gender.card, calibration=calibration))
    with pytest.raises(InputError, match=r"of an older kind.*fit it again"):
        interventions(parse_spec("noise-selection"), Setting(fitted=(old,)))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("noise-selection:concept=unsafe", "gives an attribute its shares"),
        ("noise-selection:share=1.5", "share=1.5, expected a number above 0 and below 1"),
        ("noise-selection:concept=skin", "does not know skin"),
    ],
)
def test_what_cannot_be_fitted_is_refused(host: Host, spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fitted(host, spec)


def test_the_chances_of_a_mixture_are_its_weights() -> None:
    rng = torch.Generator().manual_seed(1)
    classes = torch.randn(5, 3, 4, 8, 8, generator=rng)
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.9, 0.05, 0.05], [1 / 3] * 3, [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]])
    own = (weights[:, :, None, None, None] * classes).sum(dim=1)
    assert torch.allclose(implied_chances(own, classes), weights, atol=3e-3)  # none is below one in a thousand


@pytest.mark.parametrize("scale", [-2.0, 0.5])
def test_the_chances_do_not_depend_on_what_is_predicted(scale: float) -> None:
    rng = torch.Generator().manual_seed(2)
    own, classes = torch.randn(2, 4, 8, 8, generator=rng), torch.randn(2, 2, 4, 8, 8, generator=rng)
    latents = torch.randn(2, 4, 8, 8, generator=rng)  # noise, velocity and image are the same up to scale and latents
    other = implied_chances(scale * own + latents, scale * classes + latents[:, None])
    assert torch.allclose(implied_chances(own, classes), other, atol=1e-5)


def test_the_chances_are_the_best_that_are_none_below_zero() -> None:
    rng = torch.Generator().manual_seed(3)
    own, classes = torch.randn(40, 6, generator=rng), torch.randn(40, 3, 6, generator=rng)
    found = implied_chances(own, classes)
    grid = torch.tensor([[a, b, 100 - a - b] for a in range(101) for b in range(101 - a)]) / 100
    misses = ((grid @ classes) - own[:, None]).square().sum(dim=2)
    best = misses.min(dim=1).values
    reached = ((found[:, None] @ classes)[:, 0] - own).square().sum(dim=1)
    assert (reached <= best + 0.02).all()
    assert (found <= 2e-3).any()  # at the edge, too


def test_classes_that_the_model_does_not_tell_apart_leave_a_finite_answer() -> None:
    found = implied_chances(torch.ones(1, 4, 8, 8), torch.ones(1, 3, 4, 8, 8))
    assert torch.isfinite(found).all()
    assert float(found.sum()) == pytest.approx(1)


@pytest.mark.parametrize(("share", "steps", "step"), [(0.08, 25, 1), (0.01, 25, 0), (0.5, 4, 1), (0.99, 10, 9)])
def test_the_step_of_a_share(share: float, steps: int, step: int) -> None:
    assert step_after(share, steps) == step


def test_the_toy_knows_early_what_it_will_show(host: Host) -> None:
    """The toy's predictions are exact, so what is read is the posterior: on the mean the share of the prompt."""
    reading = ImpliedClasses(factors=({"female": "woman", "male": "man"},), shares=(0.1, 0.5))
    with host.attached(reading):
        samples = list(sample(host, requests(ROWS[0], 200), SETTINGS, batch_size=50, keep_latents=True))
    shown = torch.tensor([toy_label(one, WORLD) == "female" for one in samples])
    early, late = (reading.chances(share)[:, 0] for share in (0.1, 0.5))
    assert early.mean() == pytest.approx(0.8, abs=0.06)
    assert late[shown].mean() > late[~shown].mean() + 0.5


class _Told(ImpliedReading):
    """A reading that says what it is told, call after call."""

    answers: ClassVar[list[str]] = []

    def chances(self, share: float) -> list[torch.Tensor]:
        super().chances(share)  # it was read
        return [torch.tensor([[0.99, 0.01] if self.answers.pop(0) == "a" else [0.01, 0.99]])]


@pytest.mark.filterwarnings("ignore:__array__ implementation")
@pytest.mark.parametrize("family", ["sd1", "sdxl", "sd3", "flux"])
def test_a_rehearsal_ends_in_the_pipelines_own_image(
    pipeline: Callable[[str], DiffusionPipeline], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first noise is refused early, the second at the end; the third's image is that of a plain call from it."""
    with Host.wrap(pipeline(family)) as host:
        selection = NoiseSelection(
            name="selection",
            factors=({"a": "young", "b": "old"},),
            classes={"a": ("a",), "b": ("b",)},
            look=0.5,
            verify=0.75,
            wanted=lambda call: [Wanted(name="a", least=0.0)],
        )
        # the first is refused, the second accepted and refused on the way, the third accepted twice
        monkeypatch.setattr("evenhand.interventions.noise_selection.ImpliedReading", _Told)
        _Told.answers[:] = ["b", "a", "b", "a", "a"]
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
        rows = (host.evaluations - before - 5 * 2) / (3 * 2 + 2 * 4)  # two texts for each reading
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
