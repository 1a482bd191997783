"""Naming a class in each prompt: the baseline that every method of fair generation must beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenhand.concepts.concept import JOINT, Concept
from evenhand.concepts.library import load_concept
from evenhand.concepts.wordings import named_by
from evenhand.errors import InputError
from evenhand.interventions.assignment import Assigned, Assignment
from evenhand.interventions.prompt_map import PromptMap, Words
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting


def prompt_mix(assignment: Assignment, words: Mapping[str, str]) -> PromptMap:
    """Add to each prompt the words of the class that its image is assigned.

    Source: group words drawn at random, as in the prompts of Fair Diffusion (Friedrich et al. 2023, arXiv:2302.10893).

    Args:
        assignment: which class each image is to show.
        words: class -> words, such as {"female": "woman"}.

    Raises:
        InputError: a class of the target has no words.

    Cost: none.
    """
    missing = [name for name, share in assignment.target.items() if share > 0 and not words.get(name, "").strip()]
    if missing:
        raise InputError(f"prompt-mix has no words for the class {missing[0]!r}; give some for every class")
    return PromptMap(
        name="prompt-mix", words=lambda call: [Words(prompt=words[one]) for one in assignment.classes(call)]
    )


def _assignment(setting: Setting, values: Mapping[str, Any]) -> Assignment:
    target = setting.target(setting.concept(values["concept"]))
    return Assignment(target=target, mode=values["allocation"], seed=setting.seed)


def _build(setting: Setting, values: Mapping[str, Any]) -> PromptMap:
    concept = setting.concept(values["concept"])
    words = {name: words_of(concept, name, values["words"]) for name in concept.class_names}
    return prompt_mix(_assignment(setting, values), words).scaled(values["strength"])


def words_of(concept: Concept, name: str, pattern: str | None = None) -> str:
    """The first words by which a prompt names the class; of a joint those of each part; else the class's name.

    Args:
        concept: whose class.
        name: of the class.
        pattern: a text with one {} in it, where the name goes; None for the concept's own words.

    Raises:
        InputError: a pattern that has no such place, or several.
    """
    if pattern is not None:
        return named_by(pattern, name)
    if JOINT in concept.name:
        factors = zip(concept.factors, name.split(JOINT), strict=True)
        return ", ".join(words_of(load_concept(factor), part) for factor, part in factors)
    (one,) = (one for one in concept.classes if one.name == name)
    return one.words[0] if one.words else name


METHOD = Method(
    name="prompt-mix",
    site="prompt",
    source="group words in prompts, as in Fair Diffusion, Friedrich et al. 2023, arXiv:2302.10893",
    summary="names the assigned class in each prompt; the baseline that costs nothing",
    parameters=(
        Parameter(name="concept", help="whose classes are named", default="gender"),
        ALLOCATION,
        Parameter(name="words", help='how a class is named, such as "{}-skinned"; else by its first word'),
    ),
    build=_build,
    assigns=lambda setting, values: {
        values["concept"]: Assigned(values["allocation"], _assignment(setting, values).one)
    },
)
