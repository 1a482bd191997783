"""Words in prompts: those that a policy refuses, and the group that a prompt names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from ..concepts.concept import Concept
from .policy import FilterRule

_WORD = re.compile(r"[\w'-]+")


def folded(text: str) -> str:
    """The words of a text in one form, with a space around each: compatibility forms, accents, case, invisible marks.

    What only looks like a word (digits for letters, letters of other scripts) is not folded: a list of words is no
    judge, and the image gate looks at what came of it.
    """
    plain = unicodedata.normalize("NFKD", text)
    kept = "".join(one for one in plain if unicodedata.category(one) not in ("Mn", "Cf"))
    return f" {' '.join(_WORD.findall(kept.casefold().replace('_', ' ')))} "


class PromptFilter:
    """The words by which prompts are refused.

    Args:
        rules: of the policy; a term is found where its words stand in a row.
    """

    def __init__(self, rules: Sequence[FilterRule]) -> None:
        self._terms = tuple(
            (rule.category, folded(term)) for rule in rules for term in rule.terms if folded(term) != "  "
        )

    def categories(self, *texts: str | None) -> tuple[str, ...]:
        """The categories whose terms stand in any of the texts, each once."""
        forms = [folded(text) for text in texts if text]
        return tuple(dict.fromkeys(category for category, term in self._terms if any(term in form for form in forms)))


def named_groups(prompt: str, concepts: Sequence[Concept]) -> tuple[str, ...]:
    """Which classes a prompt names, as "gender=female": refusals are counted by them. ("none",) where it names none."""
    form = folded(prompt)
    found = [
        f"{concept.name}={one.name}"
        for concept in concepts
        if len(concept.factors) == 1
        for one in concept.classes
        if any(folded(word) in form for word in one.words)
    ]
    return tuple(found) or ("none",)
