"""The checks over the tables: every method, judge and index passes, and each check catches what breaks it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.interventions.prompt_map import PromptMap, Words
from evenhand.judges.load import load_judge
from evenhand.methods.method import Method, Parameter, Setting
from evenhand.methods.table import METHODS, all_methods
from evenhand.metrics.indices import INDICES, Index
from evenhand.records import Verdict
from evenhand.testing.judges import check_judge
from evenhand.testing.methods import check_method
from evenhand.testing.metrics import check_metric
from evenhand.testing.toy import ToyWorld
from evenhand.testing.toy_fitting import FITTING_WORLD

TOYS: dict[str, tuple[Mapping[str, str], ToyWorld | None]] = {
    "safe-guidance": ({"text": "a female person", "preset": "max"}, None),
    "sega": ({"text": "a female person"}, None),
    "negative-prompt": ({"text": "a female person"}, None),
    "prompt-mix": (
        {},
        ToyWorld(
            prompts={**ToyWorld().prompts, "a nurse, woman": (0.99, 0.01), "a nurse, man": (0.01, 0.99)},
        ),
    ),
    "concept-vector": ({"filter": "off", "calibrate": "4"}, FITTING_WORLD),
    "embedding-projection": (
        {"filter": "off"},
        ToyWorld(
            prompts={
                **FITTING_WORLD.prompts,
                **{f"woman {row}": (0.99, 0.01) for row in ("a nurse", "a mechanic")},
                **{f"man {row}": (0.01, 0.99) for row in ("a nurse", "a mechanic")},
            }
        ),
    ),
    "noise-selection": ({"filter": "off", "images": "40", "share": "0.48"}, FITTING_WORLD),
    "noise-direction": ({"filter": "off", "images": "8"}, FITTING_WORLD),
    "stereotype-corrector": ({"filter": "off", "images": "8", "calibrate": "4"}, FITTING_WORLD),
    "population-preference": (
        {"populations": "8", "steps": "80", "look": "40", "looks": "40", "beta": "20", "rate": "0.05", "rank": "2"},
        ToyWorld(
            prompts={
                **FITTING_WORLD.prompts,
                **{f"{row}, woman": (0.99, 0.01) for row in ("a nurse", "a mechanic")},
                **{f"{row}, man": (0.01, 0.99) for row in ("a nurse", "a mechanic")},
            }
        ),
    ),
    "text-enhancing": (
        {"concepts": "gender"},
        ToyWorld(prompts={**FITTING_WORLD.prompts, "a nurse of any gender": (0.8, 0.2)}),
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_table_passes(name: str) -> None:
    parameters, world = TOYS[name]
    prompt = "a nurse of any gender" if name == "text-enhancing" else "a nurse"
    check_method(METHODS[name], parameters, world=world, prompt=prompt)


def nothing(setting: Setting, values: Mapping[str, Any]) -> PromptMap:
    return PromptMap(name="mine", words=lambda call: [Words(prompt="x")] * call.images, strength=values["strength"])


MINE = Method(name="mine", site="prompt", source="mine", summary="mine", parameters=(), build=nothing)
OWN = ToyWorld(prompts={**ToyWorld().prompts, "a nurse, x": (0.1, 0.9)})


def test_a_method_of_somebody_else_passes_the_same_suite() -> None:
    check_method(MINE, world=OWN)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "My Method"}, "its name can be typed"),
        ({"source": ""}, "where it comes from"),
        ({"site": "latent"}, "the site of its row"),
        ({"parameters": (Parameter(name="strength", help="x"),)}, "names of their own"),
        ({"parameters": (Parameter(name="a", help=""),)}, "its parameters are explained"),
        ({"build": lambda setting, values: nothing(setting, {"strength": 1.0})}, "strength=0 turns all of it off"),
    ],
)
def test_a_broken_method_fails_by_name(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_method(dataclasses.replace(MINE, **changes), world=OWN)


def entry(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    module: Any = types.ModuleType("somebody_else")
    module.METHOD = value
    monkeypatch.setitem(sys.modules, "somebody_else", module)
    point = importlib.metadata.EntryPoint("theirs", "somebody_else:METHOD", "evenhand.methods")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point])
    all_methods.cache_clear()


def test_methods_of_installed_packages_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry(monkeypatch, MINE)
    try:
        assert all_methods()["mine"] is MINE
        assert list(all_methods()) == [*METHODS, "mine"]
    finally:
        all_methods.cache_clear()


@pytest.mark.parametrize("value", ["no method", METHODS["sega"]])
def test_an_entry_point_that_is_no_new_method_is_refused(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    entry(monkeypatch, value)
    try:
        with pytest.raises(InputError, match="expected a Method with a name of its own"):
            all_methods()
    finally:
        all_methods.cache_clear()


@pytest.mark.parametrize("name", ["clip", "convnet"])
def test_the_shipped_judges_pass(name: str) -> None:
    check_judge(lambda: load_judge(name), [load_concept("gender"), load_concept("skin"), load_concept("unsafe")])


class Faulty:
    """A judge that breaks one law."""

    name = "faulty"

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.hash = "a" if fault != "hash" else str(id(self))

    def card(self) -> dict[str, Any]:
        return {"hash": self.hash}

    def knows(self, concept: Any) -> bool:
        return self.fault != "knows"

    def judge(self, images: Any, concepts: Any) -> list[list[Verdict]]:
        label = "female" if self.fault != "neighbours" or len(images) == 1 else "male"
        label = "other" if self.fault == "label" else label
        shares = (0.9, 0.3) if self.fault == "probabilities" else (0.7, 0.3)
        return [
            [
                Verdict(concept=one.name, label=None, judge="x", reason="invalid image")
                if image is None and self.fault != "invalid"
                else Verdict(concept=one.name, label=label, probabilities=shares, judge="x")
                for one in concepts
            ]
            for image in images
        ]


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("knows", "it knows what it judges"),
        ("label", "a label is a class, or none"),
        ("probabilities", "probabilities sum to 1"),
        ("invalid", "what is no picture gets no label"),
        ("neighbours", "does not depend on the other pictures"),
        ("hash", "the same judge has the same hash"),
    ],
)
def test_a_broken_judge_fails_by_name(fault: str, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_judge(lambda: Faulty(fault), [load_concept("gender")])
    check_judge(lambda: Faulty("none"), [load_concept("gender")])


@pytest.mark.parametrize("index", INDICES, ids=lambda one: one.name)
def test_every_index_passes(index: Index) -> None:
    check_metric(index)


@pytest.mark.parametrize(
    ("term", "law"),
    [
        (lambda shares, target: np.abs(shares - target) + 1, "it is 0 at the target"),
        (lambda shares, target: np.abs(shares - target) * np.arange(1, len(target) + 1), "the order of the classes"),
        (lambda shares, target: np.sqrt(np.abs(shares - target)) % 0.4, "no shares are farther"),
    ],
)
def test_a_broken_index_fails_by_name(term: Callable[[Any, Any], Any], law: str) -> None:
    broken = Index("broken", term, lambda terms, target: terms.max(axis=-1))
    with pytest.raises(AssertionError, match=law):
        check_metric(broken)
