"""From requests to orders: limits, seeds, classes and words."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from toy_server import SETTINGS, policy_of

from evenhand.errors import InputError
from evenhand.serve.keys import NOBODY, Caller
from evenhand.serve.order import Application
from evenhand.serve.planner import Abilities, Plan, Planner
from evenhand.serve.policy import FilterRule
from evenhand.serve.prompt_words import PromptFilter, folded, named_groups
from evenhand.serve.quotas import Quotas
from evenhand.serve.refusals import Refusal
from evenhand.serve.state import State
from evenhand.serve.wire import ImageRequest

FAIR = {"fairness": [{"concept": "gender"}]}


@pytest.fixture
def state() -> Iterator[State]:
    with State(None) as opened:
        yield opened


def planner(state: State, *, own_fields: bool = True, **fields: Any) -> Planner:
    def checks(application: Application) -> None:
        if application.strength == 0.5:
            raise InputError("it is on or off")

    abilities = Abilities(settings=SETTINGS, size=(64, 64), checks=checks, own_fields=own_fields)
    return Planner(policy_of(**fields), Quotas(state, chance=random.Random(0)), abilities)


def plan(one: Planner, caller: Caller = NOBODY, **fields: Any) -> Plan:
    return one.plan(ImageRequest.model_validate({"prompt": "a photo of a doctor", **fields}), caller)


def refused(one: Planner, **fields: Any) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        plan(one, **fields)
    return refusal.value


def test_image_i_starts_from_seed_plus_i(state: State) -> None:
    found = plan(planner(state), n=3, seed=7)
    assert [order.seed for order in found.orders] == [7, 8, 9]
    assert found.settings == SETTINGS
    assert found.draws == ((), (), ())


def test_without_a_seed_requests_differ(state: State) -> None:
    one = planner(state)
    assert plan(one).orders[0].seed != plan(one).orders[0].seed


def test_what_is_asked_for_takes_the_place_of_defaults(state: State) -> None:
    found = plan(
        planner(state, limits={"sizes": ["128x64"]}), steps=9, guidance=0.5, size="128x64", negative_prompt="x"
    )
    settings = found.settings
    assert (settings.steps, settings.guidance, settings.width, settings.height) == (9, 0.5, 128, 64)
    assert found.orders[0].negative_prompt == "x"


@pytest.mark.parametrize("size", [None, "auto", "64x64"])
def test_the_own_size_is_one_batch_whatever_it_is_called(state: State, size: str | None) -> None:
    assert plan(planner(state), size=size).settings == SETTINGS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 5),
        ("steps", 51),
        ("guidance", 10.5),
        ("size", "512x512"),
        ("prompt", "  "),
        ("prompt", "x" * 101),
        ("negative_prompt", "x" * 101),
        ("response_format", "url"),
        ("output_format", "webp"),
        ("seed", 2**63 - 1),
        ("interventions", [{"name": "other"}]),
        ("interventions", [{"name": "calm"}, {"name": "calm"}]),
        ("interventions", [{"name": "calm", "strength": 1.5}]),
        ("interventions", [{"name": "calm", "strength": 0.5}]),
    ],
)
def test_what_passes_a_limit_is_refused_with_its_field(state: State, field: str, value: object) -> None:
    limits = {"images": 4, "steps": 50, "guidance": 10, "prompt_characters": 100}
    one = planner(state, limits=limits, interventions={"calm": {"with": "safe-guidance"}}, **FAIR)
    refusal = refused(one, **{field: value})
    assert (refusal.status, refusal.code, refusal.param) == (400, "invalid_value", field)


def test_classes_hold_their_shares_over_requests_of_one_image(state: State) -> None:
    one = planner(state, **FAIR)
    seen = Counter(plan(one).orders[0].classes["gender"] for _ in range(20))
    assert seen == {"female": 10, "male": 10}


def test_tenants_do_not_share_a_quota(state: State) -> None:
    one = planner(state, **FAIR)
    for name in ("a", "b"):
        seen = Counter(plan(one, Caller(name=name), n=10).orders[index].classes["gender"] for index in range(1))
        assert sum(seen.values()) == 1
    classes = Counter(order.classes["gender"] for order in plan(one, Caller(name="c"), n=10).orders)
    assert classes == {"female": 5, "male": 5}


@pytest.mark.parametrize("prompt", ["a female doctor", "a photo of a man", "a red car"])
def test_explicit_prompts_are_left_alone(state: State, prompt: str) -> None:
    (order,) = plan(planner(state, **FAIR), prompt=prompt).orders
    assert order.classes == {}
    assert order.stack == ()
    assert order.assigned is None


def test_with_a_seed_the_class_is_a_function_of_seed_and_prompt_and_uses_no_quota(state: State) -> None:
    one = planner(state, **FAIR)
    many = plan(one, n=10, seed=100)
    assert all(draws == () for draws in many.draws)
    alone = [plan(one, seed=100 + index).orders[0].classes for index in range(10)]
    assert [order.classes for order in many.orders] == alone
    assert [order.classes for order in plan(planner(State(None), **FAIR), n=10, seed=100).orders] == alone
    other = plan(one, n=10, seed=100, prompt="a photo of a nurse")
    assert [order.classes for order in other.orders] != alone
    # 400 seeds: the share of a fair coin lies within .5 +- .1 except once in 15,000 times
    share = sum(plan(one, seed=seed).orders[0].classes["gender"] == "female" for seed in range(400)) / 400
    assert share == pytest.approx(0.5, abs=0.1)


def test_joint_classes_and_their_stack(state: State) -> None:
    (order,) = plan(planner(state, fairness=[{"concept": "gender*skin"}])).orders
    shown = order.classes["gender*skin"]
    assert order.stack == (Application(name=f"gender*skin={shown}"),)
    assert order.assigned == shown


def test_prompt_mix_names_the_class_in_the_prompt(state: State) -> None:
    rules = [
        {"concept": "gender", "method": "prompt-mix"},
        {"concept": "skin", "method": "prompt-mix", "words": "{}-skinned"},
    ]
    (order,) = plan(planner(state, fairness=rules)).orders
    woman = {"female": "woman", "male": "man"}[order.classes["gender"]]
    assert order.prompt == f"a photo of a doctor, {woman}, {order.classes['skin']}-skinned"
    assert order.row == "a photo of a doctor"
    assert order.stack == ()


def test_interventions_follow_the_policy_and_strength_zero_is_off(state: State) -> None:
    offers = {"calm": {"with": "safe-guidance", "max_strength": 2}, "dry": {"with": "sega"}}
    (order,) = plan(
        planner(state, interventions=offers),
        interventions=[{"name": "calm", "strength": 1.5}, {"name": "dry", "strength": 0}],
    ).orders
    assert order.stack == (Application(name="+calm", strength=1.5),)


def test_the_filter_refuses_before_anything_is_drawn(state: State) -> None:
    rules = [{"category": "weapons", "terms": ["Rifle", "hand grenade"]}]
    one = planner(state, prompt_filter=rules, **FAIR)
    refusal = refused(one, prompt="a doctor with a hand  grenade")
    assert (refusal.status, refusal.code, refusal.categories) == (400, "moderation_blocked", ("weapons",))
    with state.transaction() as connection:
        assert connection.execute("SELECT COUNT(*) FROM urns").fetchone() == (0,)


@pytest.mark.parametrize(
    "prompt", ["a RIFLE", "a rífle", "a ri\u200bfle", "ｒｉｆｌｅ", "rifle's", "a rifle, a cat", "big_rifle"]
)
def test_forms_of_a_word_that_are_found(prompt: str) -> None:
    found = PromptFilter([FilterRule(category="weapons", terms=("rifle",))]).categories(prompt)
    assert found == (() if prompt == "rifle's" else ("weapons",))


@pytest.mark.parametrize("prompt", ["a trifle", "rifled through", "", "r i f l e"])
def test_forms_that_are_other_words(prompt: str) -> None:
    assert PromptFilter([FilterRule(category="weapons", terms=("rifle",))]).categories(prompt) == ()


def test_the_folded_form() -> None:
    assert folded("  Ａ Café\u200b, big_cat!") == " a cafe big cat "


def test_groups_that_a_prompt_names() -> None:
    from evenhand.concepts.library import load_concept

    concepts = [load_concept("gender"), load_concept("skin")]
    assert named_groups("a woman with dark skin", concepts) == ("gender=female", "skin=dark")
    assert named_groups("a doctor", concepts) == ("none",)


@pytest.mark.parametrize("field", ["seed", "steps", "guidance", "negative_prompt"])
def test_behind_another_server_own_fields_are_refused(state: State, field: str) -> None:
    value = "x" if field == "negative_prompt" else 3
    assert refused(planner(state, own_fields=False), **{field: value}).param == field
