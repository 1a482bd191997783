"""Naming a class in each prompt: the baseline that every method of fair generation must beat."""

from __future__ import annotations

from collections.abc import Mapping

from evenhand.errors import InputError
from evenhand.interventions.assignment import Assignment
from evenhand.interventions.prompt_map import PromptMap, Words


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
