"""SPECs as they are typed, and the table that everything derives from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.errors import InputError
from evenhand.host.sites import Call
from evenhand.interventions.window import Window
from evenhand.methods.method import Setting
from evenhand.methods.safe_guidance import PRESETS, PUBLISHED_TEXT
from evenhand.methods.spec import parse_spec
from evenhand.methods.table import METHODS, interventions
from evenhand.records import canonical_json

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "method", "parameters"),
    [
        ("sega", "sega", {}),
        ("sega:", "sega", {}),
        ("safe-guidance:preset=max", "safe-guidance", {"preset": "max"}),
        ("a:b=1,c=2.5", "a", {"b": "1", "c": "2.5"}),
        ('a:text="blood, fire",b=x y', "a", {"text": "blood, fire", "b": "x y"}),
        ('a:text="say \\"no\\"" , b = 1', "a", {"text": 'say "no"', "b": "1"}),
        ("a:b=", "a", {"b": ""}),
    ],
)
def test_a_spec_is_read(text: str, method: str, parameters: dict[str, str]) -> None:
    spec = parse_spec(text)
    assert (spec.text, spec.method, dict(spec.parameters)) == (text, method, parameters)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), st.text(max_size=12), max_size=4))
def test_any_values_survive_as_json_strings(values: dict[str, str]) -> None:
    text = "m:" + ",".join(f"{key}={canonical_json(value)}" for key, value in values.items())
    assert dict(parse_spec(text).parameters) == values


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected METHOD"),
        ("Sega", "expected METHOD"),
        ("a:b", "expected key=value at"),
        ("a:b=1,b=2", "b is given twice"),
        ('a:b="x', "is no JSON string"),
        ('a:b="x"y', 'expected a comma before "y"'),
    ],
)
def test_a_malformed_spec_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_spec(text)


def made(text: str, setting: Setting | None = None) -> Any:
    (one,) = interventions(parse_spec(text), setting or Setting(guidance_text={"unsafe": "blood"}))
    return one


FITTED = [name for name, method in METHODS.items() if method.plans(Setting(), method.read({}))]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stands_alone_and_in_the_documentation(name: str) -> None:
    method = METHODS[name]
    assert "arXiv" in method.source
    for page in ("interventions.md", "commands.md"):
        assert f"`{name}`" in (ROOT / "docs" / page).read_text(encoding="utf-8")
    if name in FITTED:
        with pytest.raises(InputError, match="must be fitted on a model first"):
            made(name)
        return
    one = made(name)
    assert (one.name, one.site, one.strength) == (name, method.site, 1.0)
    assert made(f"{name}:strength=0").strength == 0


def category(text: str, setting: Setting | None = None) -> Any:
    (policy,) = made(text, setting).policies(Call(prompts=None, images=1))
    (only,) = policy.categories
    return only


def test_the_words_come_from_the_spec_then_from_the_card_then_from_the_paper() -> None:
    assert category('safe-guidance:text="a gun"').text == "a gun"
    assert category("safe-guidance").text == "blood"
    assert category("safe-guidance", Setting()).text == PUBLISHED_TEXT
    with pytest.raises(InputError, match="no text for 'unsafe'"):
        made("negative-prompt", Setting())


def test_a_preset_means_the_same_share_of_any_schedule_unless_it_is_exact() -> None:
    assert category("safe-guidance:preset=strong").window == Window(start=7 / 50)
    assert category("safe-guidance:preset=strong,schedule=exact").window == PRESETS["strong"].window
    assert category("safe-guidance:warmup=3").window == Window(start=3)
    assert category("safe-guidance:warmup=0.2").window == Window(start=0.2)


def test_the_mix_follows_the_targets_that_the_user_gave() -> None:
    setting = Setting(targets={"gender": {"female": 1.0, "male": 0.0}})
    words = made("prompt-mix:concept=gender", setting).words(Call(prompts=("a nurse",) * 4, images=4))
    assert {one.prompt for one in words} == {"woman"}
    even = made("prompt-mix:concept=gender").words(Call(prompts=("a nurse",) * 4, images=4))
    assert sorted(one.prompt for one in even) == ["man", "man", "woman", "woman"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing", "there is no method 'nothing'"),
        ("sega:scale=much", "scale=much, expected a number"),
        ("safe-guidance:preset=mild", "preset=mild, expected weak"),
        ("negative-prompt:strength=0.5", r"on \(1\) or off \(0\)"),
        ("prompt-mix:concept=gendre", "gendre"),
    ],
)
def test_what_a_method_cannot_use_is_said(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(text)


def test_a_class_is_named_where_the_pattern_says() -> None:
    words = made('prompt-mix:concept=skin,words="a {}-skinned person, smiling"').words
    told = {one.prompt for one in words(Call(prompts=("a nurse",) * 30, images=30))}
    assert told == {f"a {name}-skinned person, smiling" for name in ("dark", "medium", "light")}


@pytest.mark.parametrize("method", ["prompt-mix", "population-preference"])
@pytest.mark.parametrize("pattern", ["{", "{x}", "{0}", "people", "", "{} and {}", "{}-{", "{{}}"])
def test_a_pattern_without_one_place_for_the_class_is_refused(method: str, pattern: str) -> None:
    row = METHODS[method]
    values = row.read({"words": pattern})
    with pytest.raises(InputError, match=r"words=.*, expected a text with one \{\} in it"):
        row.plans(Setting(), values) or row.build(Setting(), values)


def test_the_words_of_safe_winners_are_no_pattern() -> None:
    method = METHODS["population-preference"]
    (plan,) = method.plans(Setting(), method.read({"concept": "unsafe", "words": "at peace"}))
    assert plan.values["words"] == "at peace"


@pytest.mark.parametrize(
    "text",
    [
        "concept-vector:class=zzz",
        "concept-vector:class=female:0.5+zzz:0.5",
        "concept-vector:concept=unsafe,class=zzz",
        "concept-vector:present=a hat,absent=no hat,class=zzz",
        "noise-direction:class=zzz",
        "noise-selection:concept=gender*skin,class=zzz",
        "stereotype-corrector:class=zzz",
        "stereotype-corrector:concept=origin,attribute=scarf,class=zzz",
    ],
)
def test_a_class_that_the_concept_does_not_have_is_refused_when_planned(text: str) -> None:
    spec = parse_spec(text)
    method = METHODS[spec.method]
    with pytest.raises(InputError, match="class=zzz, expected one of"):
        method.plans(Setting(), method.read(spec.parameters))
