"""What the two sides of a population are asked for, and which class a target wants: of an attribute, or for safety."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import concept_names, load_concept
from evenhand.concepts.prompt_filter import named_in, naming_words, reason_to_leave
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import ConceptError, InputError
from evenhand.methods.fitting import Fitting
from evenhand.methods.prompt_mix import words_of
from evenhand.training.populations import Plan

NAME = "population-preference"
_TRIES, _SAFE_TRIES = 4, 40
"""A prompt that shows something unsafe in 80 % of its images gives a safe one within 40 in all but 1 of 7,500."""
_SETS = ("houses", "occupations")
"""Prompt sets that hold prompts which show nobody, or no house, to have an attribute."""


def target_of(concept: Concept, given: Mapping[str, float]) -> dict[str, float]:
    """Class -> share among the winners: the wanted shares of an attribute; for safety nothing unsafe.

    Raises:
        InputError: shares for classes that the concept does not have.
    """
    if concept.kind == "safety":
        safe = [name for name in concept.class_names if name != concept.unsafe_class]
        return {name: 1 / len(safe) if name in safe else 0.0 for name in concept.class_names}
    unknown = [name for name in given if name not in concept.class_names]
    if unknown:
        raise InputError(
            f"{NAME}: the target of {concept.name} has a class {unknown[0]!r}; "
            f"expected {', '.join(concept.class_names)}"
        )
    return dict(given)


def plan_of(
    concept: Concept, target: Mapping[str, float], rows: tuple[PromptRow, ...], values: Mapping[str, Any], seed: int
) -> Plan:
    """The populations of a concept.

    For an attribute winners are asked for in words of their class and losers by the neutral prompt. For safety losers
    are asked for with one of the concept's parts and must show something unsafe; winners by the prompt as it is (with
    `words`, where these are given) and must not.

    Args:
        concept: attribute, joint or safety concept.
        target: class -> share among the winners.
        rows: neutral prompts.
        values: side, populations, words.
        seed: of the run.

    Raises:
        InputError: prompts that name the attribute, or a safety concept without parts.
    """
    check_neutral(concept, rows)
    words = values["words"]
    if concept.kind == "safety":
        if not concept.parts:
            raise InputError(f"concept {concept.name} has no parts; say in its file which things make a picture unsafe")
        losing = tuple(f"with {part}" for part in concept.parts)
        return Plan(
            rows=rows,
            target=target,
            words=dict.fromkeys(concept.class_names, words or ""),
            losing=losing,
            losers_show=concept.unsafe_class,
            side=int(values["side"]),
            populations=int(values["populations"]),
            tries=_SAFE_TRIES,
            seed=seed,
        )
    return Plan(
        rows=rows,
        target=target,
        words={name: words_of(concept, name, words) for name in concept.class_names},
        side=int(values["side"]),
        populations=int(values["populations"]),
        tries=_TRIES,
        seed=seed,
    )


def teaches(concept: Concept, values: Mapping[str, Any]) -> bool:
    """Whether winners have a prompt of their own, under which the model itself says what to learn from them."""
    return bool(values["teach"] and values["sft"] and (concept.kind != "safety" or values["words"]))


def settling_steps(concept: Concept, values: Mapping[str, Any]) -> int:
    """Steps in which shares are read and steered; 0 where there is nothing to steer.

    Unsafe content is to have no share at all, and winners that teach nothing tell of none: more steps would only move
    what is to stay as it was.
    """
    return int(values["settle"]) if concept.kind != "safety" and teaches(concept, values) else 0


def check_neutral(concept: Concept, rows: Sequence[PromptRow]) -> None:
    """Raises InputError where a prompt says already what should be learnt: both sides would show the same."""
    said = concept.parts if concept.kind == "safety" else naming_words(concept)
    words = [one.removeprefix("a ").removeprefix("an ") for one in said]
    for row in rows:
        for text in [row.phrase] if row.phrase else row.templates:
            named = named_in(text, words)
            if named is not None:
                raise InputError(
                    f'{NAME} trains neutral prompts, and "{text}" names {named!r} of {concept.name} already: leave it '
                    "out, or name other prompts with prompts="
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """A prompt that asks for something by name, and the class of a concept that must be perceived then."""

    row: str
    index: int
    prompt: str
    concept: Concept
    shown: str


def specific_prompts(fitting: Fitting, concept: Concept, plan: Plan, images: int) -> tuple[Asked, ...]:
    """Prompts that say what to show, which a training may not unlearn.

    Of an attribute each row with the classes in turn ("a photo of a nurse, woman"); for safety the look-alikes of what
    is unsafe ("a photo of a person with red paint"), where the fit judge knows them.

    Args:
        fitting: the model and the fit judge.
        concept: what is trained.
        plan: its populations.
        images: for each row.
    """
    if concept.kind == "attribute":
        names = concept.class_names
        turns = [(row, place + k, k) for place, row in enumerate(plan.rows) for k in range(images)]
        return tuple(
            Asked(
                row=row.name,
                index=k,
                prompt=f"{row.phrase or row.prompt(0)}, {plan.words[names[turn % len(names)]]}",
                concept=concept,
                shown=names[turn % len(names)],
            )
            for row, turn, k in turns
        )
    found: list[Asked] = []
    for thing in concept.look_alikes:
        name = thing.removeprefix("a ").removeprefix("an ").replace(" ", "_")
        if name in concept_names() and fitting.knows(load_concept(name)):
            one = load_concept(name)
            prompt = f"a photo of {concept.subject or 'a person'} with {thing}"
            found += [
                Asked(row=thing, index=k, prompt=prompt, concept=one, shown=one.class_names[0]) for k in range(images)
            ]
    return tuple(found)


def other_rows(fitting: Fitting, concept: Concept, given: str | None) -> tuple[PromptRow, ...]:
    """Prompts on which an adapter should do nothing: those of the named set, else of the first set that fits.

    A set fits where it is not the concept's own and, for an attribute, shows nobody (or nothing) that could have it.
    Empty where the model knows none.
    """
    if given:
        return fitting.rows(dataclasses.replace(concept, prompts=given))
    for name in _SETS:
        if name == concept.prompts:
            continue
        rows = fitting.rows(dataclasses.replace(concept, prompts=name))
        if rows and (concept.kind == "safety" or all(_apart(row, concept) for row in rows)):
            return rows
    return ()


def _apart(row: PromptRow, concept: Concept) -> bool:
    reason = reason_to_leave(row.prompt(0), concept)
    return reason is not None and reason.startswith("shows no")


def known_rows(fitting: Fitting, concept: Concept, given: str | None) -> tuple[PromptRow, ...]:
    """The prompts of a set by name or file, else the concept's own.

    Raises:
        ConceptError: there is no such set, or the model knows none of its rows.
    """
    rows = fitting.rows(dataclasses.replace(concept, prompts=given) if given else concept)
    if given and not rows:
        raise ConceptError(f"{NAME}: the model knows no row of prompts={given}; name another set or file")
    return rows
