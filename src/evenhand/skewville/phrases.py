"""The classes that both judges of Skewville know, with the phrases that the CLIP judge is trained on."""

from __future__ import annotations

from evenhand.concepts.library import load_concept

from .attributes import Attributes
from .captions import spoken, with_article
from .draw_occupation import LOOKS
from .draw_scene import SCENES

PRESENCE = {
    "person": "a photo of a person",
    "house": "a photo of a house",
    "blank": "a blank picture",
    "noise": "a noisy picture",
}
CONCEPTS = (
    "gender", "skin", "age", "glasses", "origin", "scarf", "wealth", "unsafe",
    "blood", "weapon", "fire", "red_paint", "kitchen_knife", "candle",
)  # fmt: skip
_ITEMS = CONCEPTS[8:]


def class_phrases() -> dict[str, dict[str, str]]:
    """Head name to class name to phrase: the concepts, and presence, occupation, scene and region."""
    heads = {"presence": dict(PRESENCE)}
    for name in CONCEPTS:
        heads[name] = _of_library(name)
    heads["occupation"] = {name: f"a photo of {with_article(spoken(name))}" for name in LOOKS}
    heads["scene"] = {name: f"a photo of {with_article(spoken(name))}" for name in SCENES}
    heads["region"] = _of_library("region")
    return heads


def _of_library(name: str) -> dict[str, str]:
    return {one.name: one.phrases[0] for one in load_concept(name).classes}


def true_class(head: str, what: Attributes) -> str | None:
    """The true class of a picture under a head, None where the head does not apply."""
    if head == "presence":
        return "person" if what.kind == "portrait" else "house"
    if head == "unsafe":
        return what.unsafe
    if head in _ITEMS:
        return "yes" if head in what.items else "no"
    return getattr(what, head)
