"""Captions: a plan and a grammar to one sentence, with random choice of template and wording."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .plan import Plan

GRAMMAR = Path(__file__).with_name("grammar.toml")


@dataclasses.dataclass(frozen=True)
class Grammar:
    """The tables of grammar.toml."""

    frames: Mapping[str, Any]
    nouns: Mapping[str, Sequence[str]]
    words: Mapping[str, Mapping[str, Mapping[str, Sequence[str]]]]
    scenes: Mapping[str, str]
    ethical: Mapping[str, Sequence[str]]
    houses: Mapping[str, Sequence[str]]


def load_grammar() -> Grammar:
    """The grammar that ships with Evenhand."""
    return Grammar(**tomllib.loads(GRAMMAR.read_text("utf-8")))


def spoken(name: str) -> str:
    """The words for a name: "birthday_party" is "birthday party"."""
    return name.replace("_", " ")


def with_article(phrase: str) -> str:
    """`phrase` with "a" or "an"; "someone" takes none."""
    if phrase.startswith("someone"):
        return phrase
    return f"{'an' if phrase[0] in 'aeio' else 'a'} {phrase}"


class Captioner:
    """Writes captions for plans; the wording is drawn by the generator that is passed in."""

    def __init__(self, grammar: Grammar) -> None:
        self._grammar = grammar

    def caption(self, plan: Plan, rng: np.random.Generator) -> str:
        """One caption that names exactly `plan.named`."""
        if plan.what.kind == "house":
            return self._house(plan, rng)
        grammar = self._grammar
        if rng.random() < grammar.frames["tags_share"]:
            return self._tags(plan, rng)
        bare = rng.random() < grammar.frames["bare_share"]
        phrase = self._phrase(plan, rng)
        frame = _pick(grammar.frames["bare" if bare else "with_article"], rng)
        return frame.format(phrase if bare else with_article(phrase))

    def _phrase(self, plan: Plan, rng: np.random.Generator) -> str:
        what, grammar = plan.what, self._grammar
        named = {name for name in plan.named if name in grammar.words and name != "items"}
        noun = spoken(what.occupation) if what.occupation else _pick(grammar.nouns["person"], rng)
        if what.occupation is None and "gender" in named and rng.random() < 0.7:
            noun = _pick(grammar.nouns[what.gender or ""], rng)
            named.discard("gender")
        before, after = [], []
        if rng.random() < grammar.frames["filler_share"]:
            before.append(_pick(grammar.frames["fillers"], rng))
        for name in ("age", "skin", "origin", "gender", "glasses", "scarf"):
            if name in named:
                self._place_word(grammar.words[name][getattr(what, name)], before, after, rng)
        if before and noun == "someone":
            noun = "person"
        if "items" in plan.named:
            after.append(" and ".join(_pick(grammar.words["items"][item]["after"], rng) for item in what.items))
        if what.scene and ("place" in plan.named or "context" in plan.named):
            after.append(grammar.scenes[what.scene])
        if plan.ethical:
            after.append(_pick(grammar.ethical[plan.ethical], rng))
        return " ".join([*before, noun, *after])

    @staticmethod
    def _place_word(
        forms: Mapping[str, Sequence[str]], before: list[str], after: list[str], rng: np.random.Generator
    ) -> None:
        if forms["before"] and (not forms["after"] or rng.random() < 0.75):
            before.append(_pick(forms["before"], rng))
        else:
            after.append(_pick(forms["after"], rng))

    def _tags(self, plan: Plan, rng: np.random.Generator) -> str:
        what, grammar = plan.what, self._grammar
        tags = [spoken(what.occupation)] if what.occupation else []
        for name in plan.named:
            if name == "items":
                tags.extend(_pick(grammar.words["items"][item]["tag"], rng) for item in what.items)
            elif name in ("place", "context"):
                tags.append(spoken(what.scene or ""))
            else:
                tags.append(_pick(grammar.words[name][getattr(what, name)]["tag"], rng))
        if plan.ethical:
            tags.append(_pick(grammar.ethical[plan.ethical], rng))
        return ", ".join(tags[i] for i in rng.permutation(len(tags))) if tags else "person"

    def _house(self, plan: Plan, rng: np.random.Generator) -> str:
        wealth = "" if plan.asked_grand is None else "grand " if plan.asked_grand else "modest "
        region = f" in {plan.what.region}" if "region" in plan.named else ""
        return _pick(self._grammar.houses["frames"], rng).format(with_article(f"{wealth}house{region}"))

    def vocabulary(self) -> set[str]:
        """Every word that a caption or an ethical phrase of this grammar can hold, without regions and nouns."""
        words: set[str] = {"house", "grand", "modest", "a", "an"}
        for table in (self._grammar.frames, self._grammar.nouns, self._grammar.words, self._grammar.scenes,
                      self._grammar.ethical, self._grammar.houses):  # fmt: skip
            words.update(_words(table))
        return words


def _words(value: Any) -> set[str]:
    if isinstance(value, str):
        return set(value.replace("{}", " ").replace(",", " ").replace("-", " ").split())
    if isinstance(value, Mapping):
        return set().union(*(_words(part) for part in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_words(part) for part in value))
    return set()


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
