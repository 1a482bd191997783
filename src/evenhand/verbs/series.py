"""From what the user asks to the images to make: concepts, their prompt sets, and one request per image."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from ..concepts.allocation import image_seed
from ..concepts.concept import Concept
from ..concepts.library import concept_from_phrases, load_concept
from ..concepts.prompts import PromptSet, load_prompts
from ..concepts.target import parse_target
from ..errors import ConceptError
from ..records import Request
from .config import Effort, Question

ROLE = "report"
"""Seeds of this role are used for nothing else: not for fitting, calibrating or stopping."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """The images of one prompt set, and the concepts that are read in them.

    `recognition` is the question which of the rows an image shows, None where the set has no such question;
    `left_out` are the rows that the model does not know.
    """

    name: str
    rows: tuple[str, ...]
    concepts: tuple[Concept, ...]
    requests: tuple[Request, ...]
    left_out: tuple[str, ...] = ()
    recognition: Concept | None = None

    @property
    def asked(self) -> tuple[Concept, ...]:
        """Everything that the judge is asked of each image."""
        return self.concepts if self.recognition is None else (*self.concepts, self.recognition)


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

    Raises: ConceptError for what cannot be loaded, or when the model knows no row of a set.
    """
    by_set: dict[str, list[Concept]] = {}
    for concept in concepts_of(question):
        name = question.prompts or concept.prompts
        if name is None:
            raise ConceptError(f"concept {concept.name} names no prompt set: give --prompts NAME or FILE")
        by_set.setdefault(name, []).append(concept)
    return tuple(
        _series(load_prompts(name), concepts, question.limit, effort, knows, negative_prompt)
        for name, concepts in by_set.items()
    )


def _series(
    prompts: PromptSet,
    concepts: Sequence[Concept],
    limit: int | None,
    effort: Effort,
    knows: Mapping[str, Sequence[str]],
    negative_prompt: str | None,
) -> Series:
    kept, left_out = prompts.restricted(_knows(knows, prompts.name))
    rows = kept.rows[:limit]
    requests = tuple(
        Request(
            row=row.name,
            prompt=row.prompt(index),
            index=index,
            seed=image_seed(effort.seed, ROLE, row.name, index),
            negative_prompt=negative_prompt,
        )
        for row in rows
        for index in range(effort.images)
    )
    return Series(
        name=prompts.name,
        rows=tuple(row.name for row in rows),
        concepts=tuple(concepts),
        requests=requests,
        left_out=tuple(left_out),
        recognition=_recognition(kept, concepts[0]),
    )


def _knows(knows: Mapping[str, Sequence[str]], prompt_set: str) -> Callable[[str], bool]:
    known = knows.get(prompt_set)
    return (lambda row: True) if known is None else frozenset(known).__contains__


def _recognition(prompts: PromptSet, concept: Concept) -> Concept | None:
    """Which row does an image show? Asked over all rows that the model knows, also when only a few are measured.

    What can be judged at all is the same as for the concept that the set is measured for.
    """
    rows = prompts.as_concept()
    return None if rows is None else dataclasses.replace(rows, present=concept.present, absent=concept.absent)
