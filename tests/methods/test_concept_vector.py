"""Concept vectors end to end on the toy model, whose middle block holds the logarithms of a prompt's shares."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.errors import DeclinedError, InputError
from evenhand.host.host import Host
from evenhand.host.sampler import sample
from evenhand.interventions.storage import load_intervention, save_intervention
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.method import Setting
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, interventions, recalled
from evenhand.methods.vector_direction import attachables, direction_of
from evenhand.methods.vector_trials import strength_for
from evenhand.records import Request, Sample, Settings
from evenhand.testing.toy import ToyWorld, toy_host
from evenhand.testing.toy_fitting import GENDER_PROMPTS, toy_fitting, toy_label

WORLD = ToyWorld(
    prompts={
        **GENDER_PROMPTS,
        "a photo of a nurse": (0.8, 0.2),
        "a photo of a mechanic": (0.2, 0.8),
        "a female nurse": (0.99, 0.01),
        "a photo of a person with any thing": (0.5, 0.5),
        "a photo of a person with no thing": (0.5, 0.5),
    }
)
ROWS = ("a photo of a nurse", "a photo of a mechanic")
SETTINGS = Settings(steps=20, guidance=1.0)


@pytest.fixture
def host() -> Iterator[Host]:
    with toy_host(WORLD) as one:
        yield one


def label(one: Sample) -> str:
    return toy_label(one, WORLD)


def fitting(host: Host, *, knows: bool = True) -> Fitting:
    return toy_fitting(host, WORLD, rows=ROWS, knows=knows)


def fitted(host: Host, spec: str = "concept-vector:calibrate=30", **more: Any) -> Fitted:
    method = METHODS["concept-vector"]
    values = method.read(parse_spec(spec).parameters)
    (plan,) = method.plans(Setting(), values)
    assert method.fit is not None
    return method.fit(fitting(host, **more), plan.values)


@pytest.fixture(scope="module")
def gender() -> Fitted:
    with toy_host(WORLD) as one:
        return fitted(one)


def test_the_axis_is_the_difference_of_log_shares(gender: Fitted) -> None:
    direction = direction_of(gender)
    (part,) = direction.parts
    assert direction.site == part.module == "mid_block"
    assert part.landmarks is not None
    woman, man = (torch.tensor(WORLD.prompts[f"a photo of a {one}"]).log() for one in ("woman", "man"))
    assert torch.allclose(part.landmarks.axes.flatten(), man - woman, atol=1e-5)
    assert torch.allclose(part.vectors["female"].flatten(), (woman - man) / 2, atol=1e-5)


def test_the_work_is_counted_and_within_its_bound(gender: Fitted) -> None:
    work = gender.card.effect["evaluations_per_class"]
    # 40 runs of 20 steps, and half a row for the size of the module's output
    assert work == 40 * 20 + 0.5
    assert work <= 1_000


def test_every_class_reaches_the_wanted_success_on_every_row(gender: Fitted) -> None:
    # at strength z the log odds are z log(.98 / .02): .98 at 1, and more above
    with toy_host(WORLD) as host:
        direction = direction_of(gender)
        for name in ("female", "male"):
            for row in ROWS:
                strength = strength_for(gender.card.calibration, name, row, None)
                requests = [Request(row=row, prompt=row, index=i, seed=i) for i in range(200)]
                seen = fitting(host).make(direction.show(name, strength), requests)
                assert sum(label(one) == name for one in seen) / 200 >= 0.95


def test_the_controls_are_in_the_card(gender: Fitted) -> None:
    effect = gender.card.effect
    assert effect["split_half"] > 0.99
    for one in effect["classes"].values():
        assert one["monotone"]
        assert one["opposite"] < one["plain"] < max(one["dose"].values())
    # the site has two dimensions, so a random vector speaks of the two classes as well: that control must fail here
    assert not effect["passed"]
    assert max(one["random_moved"] for one in effect["classes"].values()) > 0.05


def test_a_direction_that_means_nothing_is_declined(host: Host) -> None:
    spec = (
        'concept-vector:present="a photo of a person with any thing",absent="a photo of a person with no thing",'
        "module=mid_block,calibrate=8"
    )
    method = METHODS["concept-vector"]
    (plan,) = method.plans(Setting(), method.read(parse_spec(spec).parameters))
    assert method.fit is not None
    with pytest.raises(DeclinedError, match="make no difference"):
        method.fit(fitting(host), plan.values)


def images(host: Host, attached: Sequence[Any], prompts: Sequence[str], requests: bool = True) -> list[str]:
    rows = [Request(row=prompt, prompt=prompt, index=i, seed=i) for i, prompt in enumerate(prompts)]
    with host.attached(*attached):
        return [label(one) for one in sample(host, rows, SETTINGS, batch_size=50, keep_latents=True)]


def with_spec(gender: Fitted, text: str, **more: Any) -> tuple[Any, ...]:
    return interventions(parse_spec(text), Setting(**more), lambda plan: gender)


def test_classes_follow_the_target_in_exact_quotas(host: Host, gender: Fitted) -> None:
    prompts = ["a photo of a mechanic"] * 100
    for target in ((0.5, 0.5), (0.3, 0.7)):
        arm = with_spec(
            gender,
            "concept-vector:concept=gender",
            targets={"gender": dict(zip(("female", "male"), target, strict=True))},
        )
        share = images(host, arm, prompts).count("female") / 100
        assert share == pytest.approx(target[0], abs=0.06)  # quotas are exact; a few images miss their class


def test_one_class_for_every_image(host: Host, gender: Fitted) -> None:
    arm = with_spec(gender, "concept-vector:class=female")
    assert images(host, arm, ["a photo of a mechanic"] * 60).count("female") >= 57
    with pytest.raises(InputError, match="class=other, expected one of female, male"):
        with_spec(gender, "concept-vector:class=other")


@pytest.mark.parametrize("act", ["pin", "add"])
def test_between_two_classes_the_share_goes_from_one_to_the_other(host: Host, act: str) -> None:
    one = fitted(host, f"concept-vector:calibrate=0,act={act}")
    found = [
        images(
            host,
            with_spec(one, f"concept-vector:class=female:{weight}+male:{1 - weight},act={act}"),
            ["a photo of a nurse"] * 80,
        ).count("female")
        for weight in (1.0, 0.75, 0.5, 0.25, 0.0)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[2] > found[4]


def test_prompts_that_name_the_attribute_keep_their_bits(host: Host, gender: Fitted) -> None:
    rows = [Request(row="x", prompt="a female nurse", index=i, seed=i) for i in range(4)]
    plain = [one.latents for one in sample(host, rows, SETTINGS, batch_size=4, keep_latents=True)]
    for filtered, same in (("on", True), ("off", False)):
        with host.attached(*with_spec(gender, f"concept-vector:class=male,filter={filtered}")):
            steered = [one.latents for one in sample(host, rows, SETTINGS, batch_size=4, keep_latents=True)]
        assert all((one == two).all() for one, two in zip(plain, steered, strict=True)) is same


def test_saved_and_loaded_it_makes_the_same_images(host: Host, gender: Fitted, tmp_path: Path) -> None:
    save_intervention(tmp_path / "gender", gender.tensors, gender.card)
    loaded = Fitted(*load_intervention(tmp_path / "gender", host))
    spec = parse_spec(f"{tmp_path}/gender:allocation=iid")
    assert spec.path == f"{tmp_path}/gender"
    prompts = ["a photo of a nurse"] * 20
    before = images(host, with_spec(gender, "concept-vector:allocation=iid"), prompts)
    again = interventions(recalled(spec, [loaded]), Setting(fitted=(loaded,)))
    assert images(host, again, prompts) == before
    with pytest.raises(InputError, match="module was decided when it was fitted"):
        recalled(parse_spec(f"{tmp_path}/gender:module=up"), [loaded])


def test_where_no_judge_knows_the_concept_final_latents_are_read(host: Host) -> None:
    found = fitted(host, "concept-vector:calibrate=10", knows=False)
    assert found.card.judges == {"fit": "final latents"}
    assert all(max(one["dose"].values()) >= 0.9 for one in found.card.effect["classes"].values())


@pytest.mark.parametrize("estimator", ["score-matching"])
def test_other_estimators_sit_at_the_same_site_and_are_added(host: Host, estimator: str) -> None:
    found = fitted(host, f"concept-vector:estimator={estimator},calibrate=10")
    direction = direction_of(found)
    (part,) = direction.parts
    assert part.landmarks is None
    assert part.module == "mid_block"
    assert found.card.effect["evaluations_per_class"] <= 10_000
    first = part.vectors["female"].flatten()
    assert first[0] > 0 > first[1]  # more women, fewer men


@pytest.mark.parametrize("estimator", ["score-matching", "reconstruction"])
def test_pinning_without_the_closed_form_is_refused_when_planned(estimator: str) -> None:
    method = METHODS["concept-vector"]
    with pytest.raises(InputError, match=f"act=pin needs the closed form.*act=add with estimator={estimator}"):
        method.plans(Setting(), method.read({"estimator": estimator, "act": "pin"}))


def test_a_module_that_there_is_not_is_refused_before_an_image_is_made(host: Host) -> None:
    with pytest.raises(InputError, match="has no module 'zzz'"):
        fitted(host, "concept-vector:module=zzz")
    assert host.evaluations == 0


def test_a_row_is_found_by_its_request_then_by_the_prompt() -> None:
    calibration = {"female": {"": 2.0, "nurse": 1.0, "truck driver": 4.0}}
    assert strength_for(calibration, "female", "nurse", None) == 1.0
    assert strength_for(calibration, "female", "x", "photo of a truck driver at work") == 4.0
    assert strength_for(calibration, "female", None, "a nursery") == 2.0
    assert strength_for(calibration, "male", None, None) == 1.0


def test_what_is_protected_is_fitted_too_and_asked_for_where_it_is_missing(gender: Fitted) -> None:
    method = METHODS["concept-vector"]
    plans = method.plans(Setting(), method.read({"concept": "gender", "protect": "age+skin"}))
    assert [plan.values["concept"] for plan in plans] == ["gender", "age", "skin"]
    phrases = {"present": "a photo of a person with a hat", "absent": "a photo of a person without a hat"}
    plans = method.plans(Setting(), method.read({**phrases, "protect": "age"}))
    # the same plan of age as without phrases, so that what is stored serves both
    assert plans[1:] == method.plans(Setting(), method.read({"concept": "age"}))
    assert plans[0].values["present"] == phrases["present"]
    with pytest.raises(InputError, match="protect=age is not among what was saved"):
        with_spec(gender, "concept-vector:protect=age")


def test_a_joint_is_fitted_factor_by_factor() -> None:
    method = METHODS["concept-vector"]
    plans = method.plans(Setting(), method.read({"concept": "gender*skin"}))
    assert [plan.values["concept"] for plan in plans] == ["gender", "skin"]
    alone = method.plans(Setting(), method.read({"concept": "skin"}))
    assert plans[1] == alone[0]


def test_a_joint_shows_both_of_its_parts() -> None:
    # two concepts on one module of six channels; each image of a batch carries another pair
    def card_of(name: str, concept: Concept) -> Any:
        return dataclasses.replace(PLAIN_CARD, concept=concept.to_dict())

    gender, skin = load_concept("gender"), load_concept("skin")
    parts = (
        Fitted(_landmarks(torch.eye(6)[:1], gender.class_names, [[1.0], [-1.0]]), card_of("gender", gender)),
        Fitted(_landmarks(torch.eye(6)[1:3], skin.class_names, [[1.0, 0], [0, 0], [0, 1.0]]), card_of("skin", skin)),
    )
    found = iter(parts)
    (pin,) = interventions(parse_spec('concept-vector:concept="gender*skin"'), Setting(), lambda plan: next(found))
    from evenhand.host.sites import Call

    call = Call(prompts=("a nurse",) * 60, images=60)
    shown = [{one.concept: one.name for one in some} for some in pin.pins(call)]
    pairs = [(one["gender"], one["skin"]) for one in shown]
    assert {pairs.count(pair) for pair in set(pairs)} == {10}
    assert len(set(pairs)) == 6


def _landmarks(axes: torch.Tensor, names: Sequence[str], levels: Sequence[Sequence[float]]) -> dict[str, torch.Tensor]:
    found = {"mid_block/axes": axes, "mid_block/timesteps": torch.tensor([500.0])}
    return found | {
        f"mid_block/level/{name}": torch.tensor([list(level)]) for name, level in zip(names, levels, strict=True)
    }


def _plain_card() -> Any:
    from evenhand.interventions.storage import Card, Frame

    frame = Frame(model="m", model_hash="h", family="sd1", prediction="epsilon", module="mid_block")
    return Card(method="concept-vector", site="activation", frame=frame, estimator={}, prompts={}, seeds={})


PLAIN_CARD = _plain_card()


def test_what_is_only_protected_does_not_make_the_others_begin_earlier(gender: Fitted) -> None:
    own = dataclasses.replace(direction_of(gender), start=0.5)
    other = dataclasses.replace(direction_of(gender), concept="age", start=0.0)

    def wanted(call: Any) -> list[dict[str, tuple[str, float]]]:
        return [{"gender": ("female", 1.0)}] * call.images

    (alone,) = attachables([own, other], wanted, acting=("gender",))
    (together,) = attachables([own, other], wanted)
    assert (alone.window.start, together.window.start) == (0.5, 0.0)  # type: ignore[attr-defined]
