"""Directions of the initial noise end to end on the toy model, whose starting noise decides the class."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from noise_toy import ROWS, SETTINGS, WORLD, fitted, share, shown
from scipy.stats import norm

from evenhand.concepts.library import concept_from_phrases
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, EvenhandWarning, InputError
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted, Preview
from evenhand.methods.method import Setting
from evenhand.methods.noise_calibration import law_of_shares
from evenhand.methods.noise_estimators import Keep, label_axis, paired_axis, svm_axis
from evenhand.methods.noise_looks import AXIS
from evenhand.methods.noise_store import handle_of
from evenhand.methods.probit import Handle
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, assigned, interventions, recalled
from evenhand.records import Request
from evenhand.testing.toy import toy_host
from evenhand.testing.toy_fitting import toy_fitting


@pytest.fixture
def host() -> Iterator[Host]:
    with toy_host(WORLD) as one:
        yield one


@pytest.fixture(scope="module")
def gender() -> Fitted:
    """Calibrated for every law but the clear one."""
    with toy_host(WORLD) as one:
        return fitted(one, "noise-direction:draw=tilted")


@pytest.fixture(scope="module")
def clearly() -> Fitted:
    with toy_host(WORLD) as one:
        return fitted(one)


def test_the_direction_is_the_difference_of_the_pictures(gender: Fitted) -> None:
    # the posterior of the toy depends on the noise only through its product with the pictures
    woman, man = WORLD.pictures()
    cosine = torch.cosine_similarity(gender.tensors[AXIS].flatten(), (man - woman).flatten(), dim=0)
    assert cosine.abs() > 0.95


def test_the_card_says_how_strong_the_handle_is(gender: Fitted) -> None:
    effect = gender.card.effect
    low, high = effect["interval"]
    assert 0.8 < low <= effect["strength"] <= high
    assert effect["agreement"] > 0.9
    assert effect["natural"]["a photo of a nurse"]["female"] == pytest.approx(0.9, abs=0.06)
    # women are shown too often by nurses and men by mechanics: one mean goes to either end
    assert effect["ascents"][ROWS[0]]["length"] > 0 > effect["ascents"][ROWS[1]]["length"]


def test_a_fit_spends_what_it_says_and_a_quarter_of_its_images_are_whole(gender: Fitted) -> None:
    method = METHODS["noise-direction"]
    (plan,) = method.plans(Setting(), method.read({"draw": "tilted"}))
    preview = Preview(
        setting=Setting(), rows=lambda concept: tuple(PromptRow(name=row, templates=(row,)) for row in ROWS)
    )
    assert method.work is not None
    ascents, calibration = method.work(preview, plan.values)
    spent = gender.card.effect["evaluations"]
    images = calibration.evaluations(SETTINGS.steps, guided=False)
    assert 0.9 * images < spent <= ascents.evaluations(SETTINGS.steps, guided=False) + images
    # 8 neutral ones of each row; of 400 images' work a quarter is whole ones, and the rest 3.3 quick ones for each
    assert gender.card.effect["worth"] > 1.5 * 2 * 408


@pytest.mark.parametrize("row", ROWS)
def test_shares_come_out_at_the_target(host: Host, gender: Fitted, row: str) -> None:
    assert share(shown(host, gender, "noise-direction", row)) == pytest.approx(0.5, abs=0.08)


def test_another_target_is_solved_for_at_use(host: Host, gender: Fitted) -> None:
    assert share(shown(host, gender, "noise-direction", women=0.3)) == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize("draw", ["tilted", "shift", "mixture"])
def test_every_form_of_the_law_has_the_shares(host: Host, gender: Fitted, draw: str) -> None:
    assert share(shown(host, gender, f"noise-direction:draw={draw}")) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("draw", ["tilted", "shift", "truncated"])
def test_in_mode_label_every_image_shows_its_class(host: Host, gender: Fitted, draw: str) -> None:
    setting = Setting(targets={"gender": {"female": 0.5, "male": 0.5}})
    spec = f"noise-direction:mode=label,draw={draw}"
    wanted = assigned(parse_spec(spec), setting)["gender"]
    labels = shown(host, gender, spec, images=200)
    hits = [label == wanted.of(ROWS[0], k) for k, label in enumerate(labels)]
    # a cut at the likeliest class is as right as the coordinate decides; the other laws ask for .97
    assert np.mean(hits) >= (0.85 if draw == "truncated" else 0.9)
    assert share(labels) == pytest.approx(0.5, abs=0.08)


def test_one_class_for_every_image(host: Host, gender: Fitted) -> None:
    assert share(shown(host, gender, "noise-direction:class=male", images=100)) <= 0.06


def test_the_published_form_overshoots(host: Host, gender: Fitted) -> None:
    # ten standard deviations to either side: each class is certain, and costs 50 nats
    labels = shown(host, gender, "noise-direction:draw=additive,class=male", images=50)
    assert share(labels) == 0.0


def test_an_image_costs_no_denoiser_evaluation(host: Host, gender: Fitted) -> None:
    shown(host, gender, "noise-direction", images=50)
    assert host.evaluations == 50 * 20


def test_a_prompt_that_names_the_class_keeps_its_bits(host: Host, gender: Fitted) -> None:
    def latents(call: Any) -> torch.Tensor:
        generator = [torch.Generator().manual_seed(k) for k in range(4)]
        return call("a female nurse", num_images_per_prompt=4, generator=generator).images

    with host.attached(*interventions(parse_spec("noise-direction"), Setting(fitted=(gender,)))) as call:
        assert torch.equal(latents(call), latents(host.pipe))
    off = interventions(parse_spec("noise-direction:filter=off,class=male"), Setting(fitted=(gender,)))
    with host.attached(*off) as call:
        assert not torch.equal(latents(call), latents(host.pipe))


def test_saved_and_loaded_it_is_the_same(host: Host, gender: Fitted, tmp_path: Path) -> None:
    save_intervention(tmp_path / "fit", gender.tensors, gender.card)
    again = Fitted(*load_intervention(tmp_path / "fit", host))
    assert handle_of(again) == handle_of(gender)
    spec = recalled(parse_spec(f"{tmp_path}/fit"), [again])
    assert spec.method == "noise-direction"
    assert shown(host, again, "noise-direction", images=40) == shown(host, gender, "noise-direction", images=40)


@pytest.mark.parametrize("spec", ["paired", "svm", "prediction", "labels,images=128"])
def test_other_estimators_find_a_handle_too(host: Host, spec: str) -> None:
    found = fitted(host, f"noise-direction:estimator={spec}")
    assert found.card.effect["strength"] > 0.5
    if spec in ("paired", "svm"):
        assert set(found.card.effect["strengths"]) == {f"{spec} at step {step}" for step in (0, 3, 6, 10)}


def test_a_direction_from_shuffled_labels_is_declined(host: Host) -> None:
    rng = np.random.default_rng(0)
    fitting = toy_fitting(host, WORLD, rows=ROWS)
    shuffled = type(fitting)(
        **{
            **vars(fitting),
            "read": lambda samples, concepts: [(("female", "male")[rng.integers(2)],) for _ in samples],
        }
    )
    method = METHODS["noise-direction"]
    (plan,) = method.plans(Setting(), method.read({}))
    assert method.fit is not None
    with pytest.raises(DeclinedError, match="use concept-vector or prompt-mix"):
        method.fit(shuffled, plan.values)


def unreachable(fit: Fitted, rows: Any) -> Fitted:
    """The fit, as if no noise within nine standard deviations gave some rows their men."""
    stored = fit.card.calibration
    cuts = {row: 40.0 * stored["slope"][row] if row in rows else one for row, one in stored["cut 1"].items()}
    return Fitted(fit.tensors, dataclasses.replace(fit.card, calibration={**stored, "cut 1": cuts}))


def test_prompts_whose_shares_the_noise_cannot_give_are_named(gender: Fitted) -> None:
    setting = Setting(fitted=(unreachable(gender, ROWS[:1]),))
    with pytest.warns(EvenhandWarning, match=f"shares of gender in {ROWS[0]}; they come as near"):
        interventions(parse_spec("noise-direction"), setting)


def test_where_the_noise_gives_no_prompt_its_shares_it_is_declined(gender: Fitted) -> None:
    with pytest.raises(DeclinedError, match="the noise gives no prompt its shares of gender; use concept-vector"):
        interventions(parse_spec("noise-direction"), Setting(fitted=(unreachable(gender, ROWS),)))


def test_a_budget_that_does_not_suffice_is_declined(gender: Fitted) -> None:
    with pytest.raises(DeclinedError, match=r"nats for gender and kl_budget is 0\.01"):
        interventions(parse_spec("noise-direction:kl_budget=0.01"), Setting(fitted=(gender,)))


def test_what_cannot_be_fitted_is_refused(host: Host) -> None:
    with pytest.raises(InputError, match="gives an attribute its shares"):
        fitted(host, "noise-direction:concept=unsafe")
    with pytest.raises(InputError, match=r"channels=0\+9, and the latents have channels 0 to 3"):
        fitted(host, "noise-direction:channels=0+9")
    with pytest.raises(InputError, match="steps 0 to 19"):
        fitted(host, "noise-direction:estimator=paired,step=50")
    assert host.evaluations == 0


def test_a_form_that_says_nothing_of_what_is_wanted_is_refused_when_planned() -> None:
    method = METHODS["noise-direction"]

    def planned(**given: str) -> int:
        return len(method.plans(Setting(), method.read(given)))

    with pytest.raises(InputError, match=r"draw=truncated .*; add mode=label"):
        planned(draw="truncated")
    # whether by the target or by class=, an image has a class then
    assert planned(draw="truncated", mode="label") == planned(draw="truncated", **{"class": "male"}) == 1
    for concept in ("skin", "gender*skin"):
        with pytest.raises(InputError, match=r"draw=antithetic takes concepts of two classes, skin has 3"):
            planned(draw="antithetic", concept=concept)
    assert planned(draw="antithetic") == planned(draw="antithetic", concept="gender*age") == 1


@pytest.mark.parametrize("channels", ["x", "zzz", "-1", "0.5", "", "0+"])
def test_channels_that_are_no_numbers_are_refused_when_planned(channels: str) -> None:
    method = METHODS["noise-direction"]
    with pytest.raises(InputError, match=f"channels={re.escape(channels)}, expected numbers such as 0"):
        method.plans(Setting(), method.read({"channels": channels}))


NOISES = torch.randn(40, 4, 8, 8, generator=torch.Generator().manual_seed(4))


def test_pairs_are_kept_together() -> None:
    # the noise of both classes is the same: only what the prompts do is left, without error
    by = torch.zeros(4, 8, 8)
    by[0] = 1.0
    one = paired_axis({"a": NOISES, "b": NOISES + by}, Keep())
    assert torch.allclose(one.axis, by / 8, atol=1e-5)
    assert one.order == ("a", "b")
    assert one.agreement == pytest.approx(1.0)


def test_three_classes_lie_in_the_order_of_the_axis() -> None:
    by = torch.zeros(4, 8, 8)
    by[1] = 1.0
    one = paired_axis({"light": NOISES, "dark": NOISES + 2 * by, "medium": NOISES + by}, Keep())
    assert one.order in (("light", "medium", "dark"), ("dark", "medium", "light"))


def test_the_support_vector_machine_finds_what_separates() -> None:
    by = torch.zeros(4, 8, 8)
    by[2] = 3.0
    one = svm_axis({"a": NOISES[:20], "b": NOISES[20:] + by}, Keep())
    assert torch.cosine_similarity(one.axis.flatten(), by.flatten(), dim=0) > 0.8
    with pytest.raises(InputError, match="separates two classes"):
        svm_axis({"a": NOISES, "b": NOISES, "c": NOISES}, Keep())


def test_low_pass_and_channels_keep_what_they_say() -> None:
    slow, fast = torch.zeros(4, 8, 8), torch.zeros(4, 8, 8)
    slow[0], fast[0] = 1.0, torch.cos(torch.pi * 5 * (torch.arange(8) + 0.5) / 8)[:, None]  # the fifth cosine mode
    one = paired_axis({"a": NOISES, "b": NOISES + slow + fast}, Keep(lowpass=2))
    assert torch.allclose(one.axis, slow / 8, atol=1e-5)
    with pytest.raises(InputError, match="channels 0 to 3, not 7"):
        paired_axis({"a": NOISES, "b": NOISES + slow}, Keep(channels=(7,)))


def test_labels_need_both_ends() -> None:
    with pytest.raises(DeclinedError, match="fewer than two show"):
        label_axis(NOISES, [0] * 40, ("a", "b"), Keep())


def test_a_saved_direction_of_two_phrases_is_recalled_by_them(gender: Fitted) -> None:
    phrases = concept_from_phrases("a person with a hat", "a person without a hat")
    card = type(gender.card)(**{**vars(gender.card), "concept": phrases.to_dict()})
    recall = METHODS["noise-direction"].recall
    assert recall is not None
    assert recall([Fitted(gender.tensors, card)]) == {
        "present": "a person with a hat",
        "absent": "a person without a hat",
    }
    assert recall([gender]) == {"concept": "gender"}


def test_the_clear_law_has_a_fit_of_its_own() -> None:
    method = METHODS["noise-direction"]
    (clearly,), (shift,), (least,) = (
        method.plans(Setting(), method.read({"draw": one})) for one in ("clear", "shift", "tilted")
    )
    assert clearly.values == {**least.values, "draw": "clear"}
    assert shift.values == least.values  # every other law is used with the fit of the least one
    assert list(method.plans(Setting(), method.read({}))) == [clearly]  # for two classes it is the law that is meant
    (tones,), (unsaid,) = (
        method.plans(Setting(), method.read({"concept": "skin", **given})) for given in ({"draw": "clear"}, {})
    )
    assert tones == unsaid  # of three classes the one between is hardly ever clear
    assert "draw" not in tones.values


def test_a_direction_is_drawn_by_the_law_that_it_was_calibrated_for(
    host: Host, gender: Fitted, clearly: Fitted
) -> None:
    assert clearly.card.estimator["draw"] == "clear"
    assert "draw" not in gender.card.estimator

    def nats(fit: Fitted, spec: str) -> list[float]:
        attached = interventions(parse_spec(spec), Setting(fitted=(fit,)))
        request = [Request(row=ROWS[0], prompt=ROWS[0], index=k, seed=k) for k in range(4)]
        with host.attached(*attached):
            return [one.evidence["noise-direction"]["nats"] for one in sample(host, request, SETTINGS, batch_size=4)]

    assert nats(gender, "noise-direction") == nats(gender, "noise-direction:draw=tilted")
    assert nats(clearly, "noise-direction") == nats(clearly, "noise-direction:draw=clear")
    for women in (0.5, 0.3):
        assert share(shown(host, clearly, "noise-direction", women=women)) == pytest.approx(women, abs=0.08)
    assert share(shown(host, clearly, "noise-direction:class=male", images=100)) <= 0.06
    with pytest.raises(InputError, match=r"direction of gender was calibrated for draw=clear alone; leave draw= out"):
        shown(host, clearly, "noise-direction:draw=mixture")
    with pytest.raises(InputError, match=r"draw=clear needs a fit of its own, and this direction of gender has"):
        shown(host, gender, "noise-direction:draw=clear")


def test_a_saved_direction_is_recalled_with_its_law(gender: Fitted, clearly: Fitted) -> None:
    recall = METHODS["noise-direction"].recall
    assert recall is not None
    assert recall([clearly]) == {"concept": "gender", "draw": "clear"}
    card = dataclasses.replace(gender.card, concept=Setting().concept("skin").to_dict())
    assert recall([clearly, Fitted(gender.tensors, card)]) == {"concept": "gender*skin", "draw": "clear"}


def test_how_sure_the_clear_law_is_belongs_to_its_fit(host: Host, gender: Fitted) -> None:
    method = METHODS["noise-direction"]
    read = [method.read({"draw": "clear", **given}) for given in ({"sure": "0.8"}, {"sure": "0.95"}, {})]
    (gentle,), (default,), (unsaid,) = (method.plans(Setting(), one) for one in read)
    assert gentle.values == {**default.values, "sure": 0.8}
    assert default == unsaid
    (other,) = method.plans(Setting(), method.read({"draw": "tilted", "sure": "0.8"}))
    assert "sure" not in other.values  # it is of the clear law alone

    def of(sure: float | None) -> Fitted:
        law = {"draw": "clear"} if sure is None else {"draw": "clear", "sure": sure}
        card = dataclasses.replace(gender.card, estimator={**gender.card.estimator, **law})
        return Fitted(gender.tensors, card)

    assert method.recall is not None
    assert method.recall([of(0.8)]) == {"concept": "gender", "draw": "clear", "sure": "0.8"}
    assert method.recall([of(None)]) == {"concept": "gender", "draw": "clear"}
    with pytest.raises(InputError, match=r"direction of gender was calibrated for sure=0.95; leave sure= out"):
        shown(host, of(None), "noise-direction:draw=clear,sure=0.8")
    with pytest.raises(InputError, match=r"sure=0.3, expected a number above 0.5 and below 1"):
        method.plans(Setting(), method.read({"draw": "clear", "sure": "0.3"}))


def test_a_law_that_is_less_sure_costs_less_and_has_the_shares() -> None:
    handle = Handle(slope=0.5, error=0.01, cuts={"": (1.0,)})
    least, gentle, sure = (law_of_shares(handle, "", (0.5, 0.5), one) for one in (None, 0.8, 0.95))
    assert least.kl < gentle.kl < sure.kl
    drawn = norm.ppf((np.arange(4000) + 0.5) / 4000)
    found = [handle.chances("", law.map(drawn)) for law in (least, gentle, sure)]
    assert all(one.mean(axis=0) == pytest.approx([0.5, 0.5], abs=0.01) for one in found)
    unsure = [one.min(axis=1).mean() for one in found]  # the chance of the class that an image is not drawn for
    assert unsure[0] > 0.2 > unsure[1] > 0.08 > unsure[2]
