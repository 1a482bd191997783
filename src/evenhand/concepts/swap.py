"""Associations: does what a picture shows depend on the group that its prompt names?

A counterfactual swap: the same prompt names each group in turn, and the images start from the same seeds, so that what
differs between them is the group (as in Bianchi et al., arXiv:2211.03759, who compare the depiction of groups).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from ..errors import ConceptError
from .concept import JOINT, Concept
from .library import concept_names, load_concept
from .prompts import PromptRow
from .reading import did_you_mean


@dataclasses.dataclass(frozen=True, kw_only=True)
class Association:
    """What `--association GROUP:ATTRIBUTE,...` asks.

    Args:
        text: as typed.
        group: its classes are the groups that prompts name.
        attributes: concepts whose presence is judged.
        typed: texts that have no concept; pictures and prompts are compared with them as embeddings.
    """

    text: str
    group: Concept
    attributes: tuple[Concept, ...]
    typed: tuple[str, ...] = ()

    @property
    def prompts(self) -> str | None:
        """The prompt set where it is measured: that of a safety concept among the attributes, else of the group."""
        safety = [one.prompts for one in self.attributes if one.kind == "safety"]
        return next(iter(safety), self.group.prompts)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Swap:
    """The rows of an association: every row of `bases` once for each group.

    `recognition` is the question which of the bases an image shows, None where there is none.
    """

    association: Association
    bases: tuple[str, ...]
    recognition: Concept | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that are named."""
        return self.association.group.class_names

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every two groups, the later one first, since its difference from the earlier one is stated."""
        return tuple((second, first) for first, second in itertools.combinations(self.groups, 2))


def parse_association(text: str) -> Association:
    """The association of "origin:scarf,glasses"; an attribute is a concept, a .toml file, or a text of your own.

    Raises: ConceptError when it is malformed, the group is unknown or a safety concept, an attribute is given twice or
        is the group itself, or a word is nearly the name of a concept.
    """
    name, sign, rest = text.partition(":")
    parts = [part.strip() for part in rest.split(",")]
    if not sign or not name.strip() or not all(parts):
        raise ConceptError(f'--association "{text}": expected GROUP:ATTRIBUTE,..., such as origin:scarf')
    group = load_concept(name.strip())
    if group.kind == "safety" or JOINT in group.name:
        raise ConceptError(f"--association {text}: {group.name} has no groups to name; give an attribute of people")
    twice = [part for part in parts if parts.count(part) > 1 or part == group.name]
    if twice:
        raise ConceptError(f"--association {text}: {twice[0]} is given twice; name each attribute once")
    attributes = [load_concept(part) for part in parts if part in concept_names() or part.endswith(".toml")]
    typed = [part for part in parts if part not in concept_names() and not part.endswith(".toml")]
    for part in typed:
        near = did_you_mean(part, concept_names()) if " " not in part else ""
        if near:
            raise ConceptError(f'--association {text}: "{part}" is no concept{near} A text of your own has more words')
    return Association(text=text, group=group, attributes=tuple(attributes), typed=tuple(typed))


def group_words(group: Concept, name: str) -> str:
    """The first words by which a prompt names a group, else the name of its class."""
    (one,) = (one for one in group.classes if one.name == name)
    return one.words[0] if one.words else name


def swap_rows(rows: Sequence[PromptRow], group: Concept) -> tuple[tuple[str, PromptRow], ...]:
    """For every row and group the name of the row and the row that names the group: "photo of nurse, inland"."""
    return tuple(
        (
            row.name,
            PromptRow(
                name=swapped_name(row.name, name),
                templates=tuple(f"{text}, {group_words(group, name)}" for text in row.templates),
                phrase=row.phrase,
            ),
        )
        for row in rows
        for name in group.class_names
    )


def swapped_name(row: str, group: str) -> str:
    """The name of a row that names a group."""
    return f"{row}, {group}"
