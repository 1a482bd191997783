"""From what the user asks to the images to make: concepts, their prompt sets, and one request per image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..concepts.allocation import image_seed
from ..concepts.benchmark_sets import facts_of
from ..concepts.benign import benign_set, shown_concepts
from ..concepts.concept import Concept
from ..concepts.library import concept_from_phrases, load_concept
from ..concepts.prompts import PromptRow, PromptSet, load_prompts
from ..concepts.swap import Swap, parse_association, swap_rows
from ..concepts.target import parse_target
from ..errors import ConceptError, InputError
from ..metrics.expected_maximum import DRAWN, expected_maximum, expected_maximum_interval
from ..records import Request
from .config import Effort, Question

ROLE = "report"
"""Seeds of this role are used for nothing else: not for fitting, calibrating or stopping."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """The images of one prompt set, and the concepts that are read in them.

    `recognition` is the question which of the rows an image shows, None where the set has no such question;
    `left_out` are the rows that the model does not know. Of a published set, `clusters` gives for rows that share a
    prompt that prompt, `categories` those of each row, and `facts` what the set is made of. `benign` is the safety
    concept whose harmless look-alikes the set asks for, and `swap` the groups that its prompts name in turn.
    """

    name: str
    rows: tuple[str, ...]
    concepts: tuple[Concept, ...]
    requests: tuple[Request, ...]
    left_out: tuple[str, ...] = ()
    recognition: Concept | None = None
    clusters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    benign: Concept | None = None
    swap: Swap | None = None
    part: str | None = None

    @property
    def role(self) -> str:
        """What the set is for: "main", "benign", "association", or the `part` that it plays in an attack.

        Only the main ones make a concept's own figures.
        """
        if self.part is not None:
            return self.part
        return "benign" if self.benign is not None else "main" if self.swap is None else "association"

    @property
    def asked(self) -> tuple[Concept, ...]:
        """Everything that the judge is asked of each image."""
        return self.concepts if self.recognition is None else (*self.concepts, self.recognition)


def main_series(series: Sequence[Series]) -> tuple[Series, ...]:
    """Those that make the concepts' own figures."""
    return tuple(one for one in series if one.role == "main")


def concepts_of(question: Question) -> tuple[Concept, ...]:
    """The concepts that are asked about, each with the target that the user gave for it.

    Raises: ConceptError for an unknown or malformed concept or target, or for two targets of one concept.
    """
    concepts = [load_concept(name) for name in question.concepts]
    if question.phrases is not None:
        concepts.append(concept_from_phrases(*question.phrases))
    targets: dict[str, tuple[float, ...]] = {}
    for text in question.targets:
        name, target = parse_target(text, concepts)
        if name in targets:
            raise ConceptError(f"--target {text}: {name} has a target already; give one for each concept")
        targets[name] = target
    return tuple(
        dataclasses.replace(concept, target=targets[concept.name]) if concept.name in targets else concept
        for concept in concepts
    )


def series_of(
    question: Question, effort: Effort, knows: Mapping[str, Sequence[str]], negative_prompt: str | None = None
) -> tuple[Series, ...]:
    """One series per prompt set; concepts that name the same set share its images.

    Args:
        question: concepts, targets, prompt set, limit.
        effort: images per row and the run's seed.
        knows: per prompt set the rows that the model was taught; a set that is not named is used whole.
        negative_prompt: for every request, None for none.

    Returns: the sets of the concepts, then the look-alikes of each safety concept, then the associations.
    Raises: ConceptError for what cannot be loaded, or when the model knows no row of a set.
    """
    by_set: dict[str, list[Concept]] = {}
    for concept in concepts_of(question):
        name = question.prompts or concept.prompts
        if name is None:
            raise ConceptError(f"concept {concept.name} names no prompt set: give --prompts NAME or FILE")
        by_set.setdefault(name, []).append(concept)
    found = [
        _series(load_prompts(name), concepts, question, effort, knows, negative_prompt)
        for name, concepts in by_set.items()
    ]
    if question.benign and not effort.until_decided:
        safety = [concept for concepts in by_set.values() for concept in concepts if concept.kind == "safety"]
        found += [one for one in (_benign(concept, question, effort, negative_prompt) for concept in safety) if one]
    found += [_swapped(text, question, effort, knows, negative_prompt) for text in question.associations]
    return tuple(found)


def _benign(concept: Concept, question: Question, effort: Effort, negative_prompt: str | None) -> Series | None:
    """The harmless look-alikes of a safety concept; None where it names none."""
    prompts = benign_set(concept)
    if prompts is None:
        return None
    rows = prompts.rows[: question.limit]
    return Series(
        name=prompts.name,
        rows=tuple(row.name for row in rows),
        concepts=(concept, *shown_concepts(concept)),
        requests=tuple(_request(row, i, effort.seed, negative_prompt) for row in rows for i in range(effort.images)),
        benign=concept,
    )


def _swapped(
    text: str, question: Question, effort: Effort, knows: Mapping[str, Sequence[str]], negative_prompt: str | None
) -> Series:
    """The images of an association: every row names each group in turn, from the same seeds.

    Raises: ConceptError for what `parse_association` refuses, or where no prompt set is named.
    """
    association = parse_association(text)
    name = question.prompts or association.prompts
    if name is None:
        raise ConceptError(f"--association {text}: its concepts name no prompt set; give --prompts NAME or FILE")
    prompts = load_prompts(name)
    kept, left_out = prompts.restricted(_knows(knows, prompts.name))
    rows = kept.rows[: question.limit]
    recognition = _recognition(kept, association.group)
    swap = Swap(association=association, bases=tuple(row.name for row in rows), recognition=recognition)
    named = swap_rows(rows, association.group)
    requests = [
        dataclasses.replace(
            _request(row, index, effort.seed, negative_prompt),
            seed=image_seed(effort.seed, ROLE, f"swap {base}", index),
        )
        for base, row in named
        for index in range(effort.images)
    ]
    return Series(
        name=f"{association.text} in {prompts.name}",
        rows=tuple(row.name for _, row in named),
        concepts=tuple({one.name: one for one in (*association.attributes, association.group)}.values()),
        requests=tuple(requests),
        left_out=tuple(left_out),
        recognition=recognition,
        swap=swap,
    )


def _series(
    prompts: PromptSet,
    concepts: Sequence[Concept],
    question: Question,
    effort: Effort,
    knows: Mapping[str, Sequence[str]],
    negative_prompt: str | None,
) -> Series:
    if question.own_settings and not any(row.published for row in prompts.rows):
        raise InputError(
            f"--prompt-settings own: {prompts.name} gives no settings; it is for published sets such as i2p"
        )
    kept, left_out = prompts.restricted(_knows(knows, prompts.name))
    rows = kept.rows[: question.limit]
    make = _own_request if question.own_settings else _request
    requests = [make(row, index, effort.seed, negative_prompt) for row in rows for index in range(effort.images)]
    if question.own_settings:
        # images of one shape and guidance can share a batch
        requests.sort(key=lambda one: (one.guidance or 0.0, one.width or 0, one.height or 0))
    return Series(
        name=prompts.name,
        rows=tuple(row.name for row in rows),
        concepts=tuple(concepts),
        requests=tuple(requests),
        left_out=tuple(left_out),
        recognition=_recognition(kept, concepts[0]),
        clusters={row.name: row.templates[0] for row in rows if row.published is not None},
        categories={row.name: row.published.categories for row in rows if row.published is not None},
        facts=_facts(prompts, rows),
    )


def _request(row: PromptRow, index: int, seed: int, negative_prompt: str | None) -> Request:
    return Request(
        row=row.name,
        prompt=row.prompt(index),
        index=index,
        seed=image_seed(seed, ROLE, row.name, index),
        negative_prompt=negative_prompt,
    )


def _own_request(row: PromptRow, index: int, seed: int, negative_prompt: str | None) -> Request:
    """With the seed, guidance and size that the row was published with: image 0 starts from its very seed."""
    plain, own = _request(row, index, seed, negative_prompt), row.published
    if own is None:
        return plain
    first = plain.seed if own.seed is None else own.seed
    return dataclasses.replace(
        plain,
        seed=first if index == 0 else image_seed(first, ROLE, row.name, index),
        guidance=own.guidance,
        width=None if own.width is None else own.width // _MULTIPLE * _MULTIPLE,
        height=None if own.height is None else own.height // _MULTIPLE * _MULTIPLE,
    )


_MULTIPLE = 8
"""Sides that a pipeline can make; published sizes are rounded down to them."""


def _facts(prompts: PromptSet, rows: Sequence[PromptRow]) -> dict[str, Any]:
    """What the rows are made of and, where their authors say how often each was inappropriate, these figures."""
    entries = [row.published for row in rows if row.published is not None]
    if not entries:
        return {}
    facts = facts_of(entries, prompts.facts["set"])
    rated = [(one, one.percentage / 100) for one in entries if one.percentage is not None]
    if len(rated) < len(entries):
        return facts
    published = {"all": _published_figures([(rate, one.prompt) for one, rate in rated])}
    for name in facts["categories"]:
        published[name] = _published_figures([(rate, one.prompt) for one, rate in rated if name in one.categories])
    return {**facts, "published": published}


def _published_figures(rated: Sequence[tuple[float, str]]) -> dict[str, Any]:
    rates = [rate for rate, _ in rated]
    found: dict[str, Any] = {"rows": len(rates), "unsafe_rate": sum(rates) / len(rates)}
    if len(rates) >= DRAWN:
        found["expected_maximum"] = expected_maximum(rates)
        found["interval"] = list(expected_maximum_interval(rates, clusters=[prompt for _, prompt in rated], draws=500))
    return found


def _knows(knows: Mapping[str, Sequence[str]], prompt_set: str) -> Callable[[str], bool]:
    known = knows.get(prompt_set)
    return (lambda row: True) if known is None else frozenset(known).__contains__


def _recognition(prompts: PromptSet, concept: Concept) -> Concept | None:
    """Which row does an image show? Asked over all rows that the model knows, also when only a few are measured.

    What can be judged at all is the same as for the concept that the set is measured for.
    """
    rows = prompts.as_concept()
    return None if rows is None else dataclasses.replace(rows, present=concept.present, absent=concept.absent)
