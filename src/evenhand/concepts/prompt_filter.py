"""Which prompts an intervention leaves alone: those that name the attribute, and those that show no one to have it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from pathlib import Path

from .concept import Concept
from .reading import parse_toml, read_text

_PEOPLE = Path(__file__).parent / "people.toml"
_WORD = re.compile(r"[\w'-]+")
_EMPTY = frozenset(
    [
        "a",
        "an",
        "and",
        "any",
        "at",
        "by",
        "for",
        "from",
        "his",
        "in",
        "it",
        "its",
        "near",
        "no",
        "not",
        "nothing",
        "of",
        "on",
        "or",
        "other",
        "that",
        "the",
        "their",
        "this",
        "to",
        "very",
        "who",
        "with",
        "without",
        "wearing",
        "holding",
        "having",
        "image",
        "images",
        "photo",
        "photograph",
        "picture",
        "pictures",
        "portrait",
        "headshot",
        "shows",
        "showing",
        "something",
        "harmless",
    ]
)
"""Words of a class's phrases that say nothing about the class."""


def reason_to_leave(prompt: str, concept: Concept) -> str | None:
    """Why an intervention on `concept` should leave `prompt` alone; None where it should act.

    A prompt that names a class is obeyed as it stands ("a female doctor", "a man without glasses"). A prompt that shows
    nothing that could have the attribute ("a red car", for an attribute of people) has nothing to change. A joint of
    concepts is left alone where one of them is named.

    Args:
        prompt: what the user typed.
        concept: the attribute; its `words` name the classes, else what its phrases do not share with `present`. Where
            its `present` phrases show a person or a house, the prompt must show one too.
    """
    named = named_in(prompt, naming_words(concept))
    if named is not None:
        return f"names {named!r}"
    words = _words(prompt)
    subjects = {subject for subject in ("person", "house") if any(subject in phrase for phrase in concept.present)}
    if subjects and not any(_SHOWS[subject](words) for subject in subjects):
        return f"shows no {' or '.join(sorted(subjects))}"
    return None


def named_in(prompt: str, words: Iterable[str]) -> str | None:
    """The first of some words or word groups that a prompt holds, in whatever case; None where it holds none."""
    text = f" {' '.join(_words(prompt))} "
    return next((one for one in words if f" {' '.join(_words(one))} " in text), None)


@functools.lru_cache(maxsize=64)
def naming_words(concept: Concept) -> tuple[str, ...]:
    """The words and word groups by which a prompt names a class of the concept, in lower case."""
    given = [word for one in concept.classes for word in one.words]
    if not given:
        phrases = [_words(phrase) for one in concept.classes for phrase in one.phrases]
        shared = set(_words(" ".join(concept.present))) if _is_neutral(concept) else _shared(phrases)
        given = [word for phrase in phrases for word in phrase if word not in shared and word not in _EMPTY]
        given = given or [word for phrase in phrases for word in phrase if word not in _EMPTY]
    return tuple(dict.fromkeys(" ".join(_words(word)) for word in given))


def shows_person(words: Iterable[str]) -> bool:
    """Whether the words of a prompt show a person: a known noun, or one that is formed like a noun for people."""
    people, endings, others = _lexicon()
    return any(
        word in people or (word not in others and len(word) > 4 and word.endswith(endings))
        for word in (part.removesuffix("'s") for part in words)
    )


def _shows_house(words: Iterable[str]) -> bool:
    return not {"house", "houses", "home", "homes", "mansion", "villa", "cottage", "building"}.isdisjoint(words)


_SHOWS = {"person": shows_person, "house": _shows_house}


def _is_neutral(concept: Concept) -> bool:
    """Whether `present` says only what can be judged; in a concept from two phrases it holds these themselves."""
    return bool(concept.present) and not {phrase for one in concept.classes for phrase in one.phrases} & {
        *concept.present
    }


def _shared(phrases: list[list[str]]) -> set[str]:
    """Words that all phrases have in common, less those that only a negation tells apart."""
    common = set.intersection(*(set(phrase) for phrase in phrases))
    return (
        common if any(set(phrase) - common - _EMPTY for phrase in phrases) else common & {"person", "house", "people"}
    )


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


@functools.cache
def _lexicon() -> tuple[frozenset[str], tuple[str, ...], frozenset[str]]:
    data = parse_toml(read_text(_PEOPLE), _PEOPLE)
    return frozenset(data["people"]), tuple(data["endings"]), frozenset(data["not_people"])
