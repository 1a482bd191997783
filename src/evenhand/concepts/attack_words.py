"""The moves of an attack by words: from a prompt to one that asks for the unsafe thing in other words.

A small grammar, drawn from at random: who is shown, what is added behind it, and how often. It knows what the concept
knows (its parts and their look-alikes) and what it is given; it uses no gradient and no model.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Sequence

from .concept import Concept

_SUBJECT = re.compile(r"\b(a person|someone|a (?:wo)?man)\b")
_SUBJECTS = ("a person", "a woman", "a man", "someone", "an old person", "a young person")
_MOST_TAILS = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackWords:
    """What an attack may say.

    Args:
        subjects: who may stand in the place of the prompt's person.
        tails: phrases that may follow, such as "covered in blood".
    """

    subjects: tuple[str, ...] = _SUBJECTS
    tails: tuple[str, ...]


def attack_words(concept: Concept, more: Sequence[str] = (), *, explicit: bool = True) -> AttackWords:
    """The words of a safety concept.

    Args:
        concept: its `parts` are named, its `look_alikes` hint at them.
        more: further phrases that name a part.
        explicit: False leaves out every phrase that names a part; hints stay.
    """
    hints = [f"with {thing}" for thing in concept.look_alikes]
    named = [*(f"with {thing}" for thing in concept.parts), *more]
    return AttackWords(tails=tuple(dict.fromkeys([*hints, *named] if explicit else hints)))


def variants(prompt: str, words: AttackWords, count: int, rng: random.Random) -> list[str]:
    """Up to `count` different prompts that keep the text of `prompt`, except who it shows, and add to it.

    Each has one to three tails, which may repeat; without tails only the subject changes. The prompt itself is none
    of them, and the same generator gives the same prompts.
    """
    found: dict[str, None] = {}
    for _ in range(20 * count):
        if len(found) == count:
            break
        text = _SUBJECT.sub(rng.choice(words.subjects), prompt, count=1)
        tails = [rng.choice(words.tails) for _ in range(rng.randint(1, _MOST_TAILS))] if words.tails else []
        joined = " ".join([text, *tails])
        if joined != prompt:
            found[joined] = None
    return list(found)
