"""Responsible text-enhancing generation: what a prompt asks for in an ethical phrase is done, not only read.

Li et al. (CVPR 2024, arXiv:2311.17216), section 4: a text-to-image model mostly ignores phrases such as "of any gender"
or "with no violence". They are found in the prompt (see `ethical_phrases`), and the concept vectors of their concepts
are added for the images of that prompt alone. The prompt itself stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evenhand.concepts.ethical_phrases import ethical_phrases
from evenhand.concepts.prompt_filter import reason_to_leave
from evenhand.errors import InputError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assignment
from evenhand.methods import concept_vector
from evenhand.methods.concept_vector import vector_interventions
from evenhand.methods.fitting import FitPlan
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.vector_direction import SAFE

NAME = "text-enhancing"
_KNOWN = ("gender", "skin", "age", "unsafe")


def _concepts(values: Mapping[str, Any]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in values["concepts"].split(","))
    unknown = [name for name in names if name not in _KNOWN]
    if unknown:
        raise InputError(f"{NAME}: no phrases are known for {unknown[0]!r}; expected some of {', '.join(_KNOWN)}")
    return names


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    """The same plans as concept-vector's with its defaults, so that what is stored is shared."""
    vectors = concept_vector.METHOD
    return [plan for name in _concepts(values) for plan in vectors.plans(setting, vectors.read({"concept": name}))]


def _build(setting: Setting, values: Mapping[str, Any]) -> tuple[Attachable, ...]:
    concepts = {name: setting.concept(name) for name in _concepts(values)}
    draws = {
        name: Assignment(target=setting.target(concept), mode=values["allocation"], seed=setting.seed)
        for name, concept in concepts.items()
        if concept.kind == "attribute"
    }

    def wanted(call: Call) -> list[dict[str, str]]:
        classes = {name: draw.classes(call) for name, draw in draws.items()}
        found: list[dict[str, str]] = []
        for row, prompt in enumerate(call.prompts or [""] * call.images):
            asked = {phrase.concept: phrase.wish for phrase in ethical_phrases(prompt) if phrase.concept in concepts}
            found.append(
                {
                    name: SAFE if wish == "safe" else classes[name][row]
                    for name, wish in asked.items()
                    if wish == "safe" or reason_to_leave(_without_pairs(prompt), concepts[name]) is None
                }
            )
        return found

    return vector_interventions(setting.fitted, wanted, strength=values["strength"], name=NAME)


def _without_pairs(prompt: str) -> str:
    """The prompt less its ethical phrases: "a man or a woman" asks for either and names neither."""
    text = prompt.casefold()
    for phrase in ethical_phrases(prompt):
        text = text.replace(phrase.text, " ")
    return text


METHOD = Method(
    name=NAME,
    site="activation",
    source="Responsible text-enhancing generation, Li et al., CVPR 2024, arXiv:2311.17216",
    summary='does what ethical phrases ask for: "of any gender", "with no violence"',
    parameters=(
        Parameter(name="concepts", help="whose phrases are followed", default=",".join(_KNOWN)),
        ALLOCATION,
    ),
    build=_build,
    plans=_plans,
)
