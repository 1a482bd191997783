"""The texts of a concept: what is said to show a class, and what is said where nothing is told."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.concepts.concept import Concept
from evenhand.concepts.prompts import PromptRow
from evenhand.concepts.wordings import FRAMES
from evenhand.errors import InputError
from evenhand.methods.shown_classes import from_phrases
from evenhand.methods.vector_direction import SAFE


@dataclasses.dataclass(frozen=True, kw_only=True)
class Texts:
    """Prompts of a concept: the neutral one, and one per class; for safety, one per part that must not appear."""

    neutral: str
    classes: Mapping[str, str]
    shown: tuple[str, ...]

    @classmethod
    def of(cls, concept: Concept) -> Texts:
        """From the concept's own phrases."""
        phrases = {one.name: one.phrases[0] for one in concept.classes}
        neutral = next((text for text in concept.present if text not in phrases.values()), "a photo of a person")
        if concept.kind == "attribute":
            return cls(neutral=neutral, classes=phrases, shown=tuple(phrases))
        if not concept.parts:
            raise InputError(f"concept {concept.name} has no parts; say in its file which things make a picture unsafe")
        parts = {part: f"{neutral} with {part}" for part in concept.parts}
        return cls(neutral=neutral, classes={SAFE: neutral, **parts}, shown=(SAFE,))


def concept_of(values: Mapping[str, Any], load: Callable[[str], Concept]) -> Concept:
    """The concept of a SPEC: two phrases, or a name.

    Raises:
        InputError: one phrase without the other.
    """
    if values["present"] or values["absent"]:
        return dataclasses.replace(from_phrases(values), prompts="occupations")
    return load(values["concept"])


def in_rows(text: str, neutral: str, rows: Sequence[PromptRow], count: int) -> tuple[str, ...]:
    """A text about the subjects of some rows in turn: "a photo of an old person" becomes "a photo of an old nurse".

    Pictures of a class are to be told apart where it will be shown: on what nurses wear.

    Args:
        text: of a class, or the neutral one.
        neutral: whose subject is replaced.
        rows: each row's phrase is a photo of its subject; those that begin otherwise leave the text as it is.
        count: of prompts.

    Returns:
        The text itself, `count` times, where it does not speak of the neutral subject or there are no rows.
    """
    subjects = [found for row in rows if (found := _subject(row.phrase or ""))]
    own = _subject(neutral)
    if not own or not subjects:
        return (text,) * count
    return tuple(_about(text, own, subjects[index % len(subjects)]) for index in range(count))


def _subject(phrase: str) -> tuple[str, str] | None:
    """Article and noun of "a photo of a nurse"; None for what begins otherwise."""
    found = re.fullmatch(rf"{FRAMES[0]} (an?) (.+)", phrase)
    return (found[1], found[2]) if found else None


def _about(text: str, own: tuple[str, str], subject: tuple[str, str]) -> str:
    """The text with one subject in place of another, with the article that belongs to it where nothing is between."""
    whole = rf"\b{re.escape(' '.join(own))}\b"
    if re.search(whole, text):
        return re.sub(whole, lambda _: " ".join(subject), text, count=1)
    return re.sub(rf"\b{re.escape(own[1])}\b", lambda _: subject[1], text, count=1)
