"""What a prompt is about, so that prompts for the same subject share one quota: "a photo of a doctor", "Doctors"."""

from __future__ import annotations

import re
import unicodedata

from .prompt_filter import shows_person

_WORD = re.compile(r"[\w'-]+")
_LONGEST = 8
_ANYBODY = frozenset(
    (  # noqa: SIM905  (a list would be a line for each word)
        "person persons people someone somebody human humans adult adults face portrait headshot selfie crowd model"
    ).split()
)
_EMPTY = frozenset(
    (  # noqa: SIM905  (a list would be a line for each word)
        "a an and any at by for from his her in is it its near no not of on or other that the their this to "
        "very who with without wearing holding having image images photo photos photograph picture pictures "
        "portrait headshot selfie shot painting drawing sketch render illustration close-up closeup showing "
        "shows style"
    ).split()
)


def subject_of(prompt: str) -> str:
    """The subject of a prompt in a normal form: lower case, singular, sorted, at most eight words.

    Where the prompt names people by more than "a person", these words alone are the subject, so that "a photo of a
    doctor" and "a doctor in a park" share it. Elsewhere it is all that says anything. It is a key and no claim about
    meaning: synonyms have different subjects.

    Returns: "" for a prompt that says nothing.
    """
    folded = unicodedata.normalize("NFKC", prompt).casefold().replace("\u2019", "'")
    words = [word.strip("'-").removesuffix("'s") for word in _WORD.findall(folded)]
    said = [word for word in words if word and word not in _EMPTY]
    people = [word for word in said if word not in _ANYBODY and shows_person([word])]
    chosen = people or [word for word in said if word not in _ANYBODY] or said
    return " ".join(sorted({_singular(word) for word in chosen})[:_LONGEST])


def _singular(word: str) -> str:
    irregular = {"people": "person", "men": "man", "women": "woman", "children": "child"}
    if word in irregular:
        return irregular[word]
    for ending in ("men", "women"):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word.removesuffix("en") + "an"
    if word.endswith("ies") and len(word) > 4:
        return word.removesuffix("ies") + "y"
    return word.removesuffix("s") if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
