"""Finds what a prompt asks for in ethical phrases: "of any gender", "with no violence".

A rule has a cue and a topic near each other: `any`, `regardless of`, `a fair mix of` and a word for gender, skin or
age; or a negation and a word for harm. A word for harm without a negation asks for nothing ("with violence"), nor does
a negation of something else, a compound ("a no-fire zone"), or a phrase that a sign or a title shows.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Literal

from ..records import Record

Wish = Literal["any", "safe"]
"""`any`: every class of the concept should have its chance. `safe`: nothing unsafe should appear."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EthicalPhrase(Record):
    """One phrase: the concept that it speaks of, what it asks for, and its words as they stand in the prompt."""

    concept: str
    wish: Wish
    text: str


_TOPICS = {
    "gender": r"genders?|sex(?:es)?",
    "skin": r"skin(?:[ -](?:tones?|colou?rs?|types?))?|complexions?|ethnicit(?:y|ies)|ethnic backgrounds?"
    r"|races?(?! (?:car|track|horse|day|course|driver|bike))",
    "age": r"ages?(?: groups?)?",
}
_PAIRS = {
    "gender": r"(?:wom[ae]n|females?|girls?) or (?:a )?(?:m[ae]n|males?|boys?)"
    r"|(?:m[ae]n|males?|boys?) or (?:a )?(?:wom[ae]n|females?|girls?)",
    "skin": r"(?:light|dark|medium)(?:,? (?:light|dark|medium))* or (?:light|dark|medium)(?:-skinned| skin(?:ned)?)",
    "age": r"(?:young or old|old or young|young or elderly|elderly or young)",
}
_GAP = r"(?: (?!(?:car|cars|zone|sign|but|and|with|in|at|on)\b)[\w'-]+){0,2} "
_BEFORE = (
    r"(?:any|all|every|each|whatever|whichever|either|both|random|diverse|different|various|varied|varying|mixed|equal"
    r"|unbiased|balanced|unspecified|no (?:particular|specific|fixed|single)"
    r"|regardless of|irrespective of|independent(?:ly)? of|no matter(?: what| the| which)?|without regard (?:to|for)"
    r"|not limited (?:to|by)|(?:fair|equal|even|balanced|good|wide|broad|diverse) (?:mix|range|share|variety|spread)"
    r" (?:of|across)|(?:mix|range|variety|diversity) (?:of|across)"
    r"|(?:equal|even|fair) (?:chances?|odds|probabilit(?:y|ies)) (?:for|of|across))"
)
_AFTER = (
    r"(?:(?:does|do|should|must) ?n(?:o|')t matter|is (?:irrelevant|unimportant|open|left open|not important)"
    r"|(?:chosen|drawn|picked|selected|assigned)(?: \w+)? ?(?:fairly|at random|randomly|evenly|equally)"
    r"|(?:can|may|could) be (?:any(?:thing)?|either|whatever)|(?:bias|stereotypes?|discrimination|prejudice)[ -]?free"
    r"|diversity|equality|balance[d]?|parity|neutral(?:ly)?|equal (?:chances?|odds))"
)
_BIAS = r"(?:bias(?:es)?|stereotyp(?:es?|ing)|discrimination|prejudices?|preferences?)"
_NOT = r"(?:without|with no|no|free (?:of|from)|free|devoid of|avoid(?:ing)?|lacking|minus|absent|not any)"
_HARM = (
    r"(?:violen(?:ce|t)|blood(?:y|shed)?|gor[ey]|weapons?|guns?|rifles?|swords?|fires?|flames?|burning|harm(?:ful)?"
    r"|danger(?:ous|s)?|hurt(?:ing)?|injur(?:y|ies|ed)|wounds?|unsafe|cruel(?:ty)?|fighting|fights?|death|killing|threats?"
    r"|disturbing|shocking|brutal(?:ity)?)"
)
_NO_ONE = r"(?:nothing|nobody|no[ -]one|no (?:thing|person|body)|none(?: of \w+)?|never|not)"
_SAFE = (
    rf"{_NOT}(?: (?:any|all|the|visible|signs? of|kind of|form of|anything|something|of|acts? of"
    r"|depictions? of)){0,3}"
    rf" {_HARM}(?:,? (?:and|or|nor) (?:\w+ )?{_HARM})*",
    rf"{_NO_ONE}(?: (?!without)\w+)? {_HARM}",
    rf"{_HARM}-free|non-?violent(?:ly)?|nonviolence",
    r"(?:in|with) an? (?:\w+ )?(?:peaceful|safe|harmless|gentle) (?:way|manner|fashion|scene|setting|version|style)",
    r"(?:peaceful|safe|harmless) (?:way|manner|fashion|version|depiction)",
    r"(?:made|kept|keep it|keeping it|but|yet|strictly|entirely|completely) (?:safe|harmless|peaceful|non-?violent)",
    r"safe for (?:everyone|everybody|all|children|kids|work|families|any audience|all audiences)",
    r"(?:suitable|fit|appropriate|okay|fine|good) for (?:children|kids|families|everyone|all ages|all audiences|young)",
    r"(?:family|child|kid|kids)-(?:friendly|safe)",
    r"peacefully|harmlessly",
)
_SHOWN = re.compile(
    r"\b(?:signs?(?! of)|signpost|poster|label|sticker|banner|logo|billboard|placard|headline|book|movie|film|song"
    r"|album|titled|entitled|called|named|reading|saying|says|reads|text|words?|slogan|t-shirt|extinguisher|alarm)\b"
)
_AUDIENCE = re.compile(r"(?:suitable|fit|appropriate|okay|fine|good|safe|fun|toys?|games?|books?) for$")


def ethical_phrases(prompt: str) -> tuple[EthicalPhrase, ...]:
    """The ethical phrases of a prompt, at most one for each concept and wish, in order of appearance.

    Concepts are gender, skin, age and unsafe. A prompt without one gives an empty tuple.
    """
    text = re.sub(r"\s+", " ", prompt.casefold()).replace("\u2019", "'")
    if _SHOWN.search(_outside_scenes(text)):
        return ()
    found: dict[tuple[str, Wish], tuple[int, str]] = {}
    for concept, wish, match in _matches(text):
        key: tuple[str, Wish] = (concept, wish)
        place = match.start()
        if key not in found or place < found[key][0]:
            found[key] = (place, match.group().strip())
    ordered = sorted(found.items(), key=lambda item: item[1][0])
    return tuple(EthicalPhrase(concept=concept, wish=wish, text=words) for (concept, wish), (_, words) in ordered)


def _matches(text: str) -> Iterator[tuple[str, Wish, re.Match[str]]]:
    for concept, topic in _TOPICS.items():
        rules = (
            rf"{_BEFORE}(?:{_GAP}| )(?:{topic})",
            rf"(?:{topic})(?: (?:is|are|was|be|being))?(?: |-){_AFTER}",
            rf"{_NOT} (?:(?:any|all) )?(?:{topic})[ -](?:based )?{_BIAS}",
            rf"(?:{topic})-(?:neutral|balanced|diverse|unbiased|inclusive)",
            rf"(?:either )?(?:an? )?(?:{_PAIRS[concept]})",
        )
        for rule in rules:
            for match in re.finditer(rf"(?<![\w-])(?:{rule})(?![\w-])", text):
                if not (concept == "age" and _AUDIENCE.search(text[: match.start()].rstrip())):
                    yield concept, "any", match
    for rule in _SAFE:
        for match in re.finditer(rf"(?<![\w-])(?:{rule})(?![\w-])", text):
            if not _is_double(text[: match.start()]):
                yield "unsafe", "safe", match


def _is_double(before: str) -> bool:
    """A negation of the phrase itself: "not without violence", "never peacefully"."""
    return bool(re.search(r"(?:\bnot|\bnever|n't|\bhardly)$", before.rstrip()))


def _outside_scenes(text: str) -> str:
    """The text without scenes whose own name holds such a word, "in a horror film"."""
    return re.sub(r"\b(?:in|at|from|on) an? (?:\w+ )?(?:film|movie)\b", "", text)
