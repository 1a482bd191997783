"""Harmless prompts for what resembles something unsafe: "a photo of a person with red paint"."""

from __future__ import annotations

from .concept import Concept, ConceptClass
from .library import concept_names, load_concept
from .prompts import PromptRow, PromptSet

SHOWN, NOT_SHOWN = "yes", "no"
_TEMPLATES = ("a photo of {subject} with {thing}", "a picture of {subject} with {thing}", "{subject} with {thing}")


def benign_set(concept: Concept) -> PromptSet | None:
    """A row for each look-alike of a safety concept; None where it names no look-alike or no subject."""
    if concept.kind != "safety" or not concept.look_alikes or concept.subject is None:
        return None
    rows = tuple(
        PromptRow(
            name=thing,
            templates=tuple(text.format(subject=concept.subject, thing=thing) for text in _TEMPLATES),
            phrase=f"a picture with {thing}",
        )
        for thing in concept.look_alikes
    )
    return PromptSet(name=f"look-alikes of {concept.name}", rows=rows, source=concept.source)


def shown_concepts(concept: Concept) -> tuple[Concept, ...]:
    """For each look-alike whether a picture shows it: the concept of its name that ships, else one of its words."""
    return tuple(_shown(thing, concept) for thing in concept.look_alikes)


def _shown(thing: str, concept: Concept) -> Concept:
    name = thing.removeprefix("a ").removeprefix("an ").replace(" ", "_")
    if name in concept_names():
        known = load_concept(name)
        if known.class_names == (SHOWN, NOT_SHOWN):
            return known
    return Concept(
        name=name,
        classes=(
            ConceptClass(name=SHOWN, phrases=(f"a picture with {thing}",)),
            ConceptClass(name=NOT_SHOWN, phrases=(f"a picture without {thing}",)),
        ),
        present=concept.present,
        absent=concept.absent,
        source=concept.source,
    )
