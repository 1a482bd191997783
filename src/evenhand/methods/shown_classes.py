"""What methods that show an attribute's classes share: parameters, who gets which class, and what is left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.concepts.concept import JOINT, Concept
from evenhand.concepts.library import concept_from_phrases, concept_names
from evenhand.concepts.mixture import checked_class
from evenhand.concepts.prompt_filter import reason_to_leave
from evenhand.errors import InputError
from evenhand.host.sites import Call
from evenhand.interventions.assignment import Assigned, Assignment
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import Parameter, Setting

CONCEPT = Parameter(name="concept", help="a concept's name, or a joint", default="gender", fits=True)
PHRASES = (
    Parameter(name="present", help="a concept from two texts: this one says that it is there,", fits=True),
    Parameter(name="absent", help="and this one that it is not", fits=True),
)
CLASS = Parameter(name="class", help="the class that every image shows; else drawn from the target")
FILTER = Parameter(
    name="filter",
    help="leaves prompts alone that name the attribute or show no one to have it",
    kind="choice",
    default="on",
    choices=("on", "off"),
)


def protected_of(values: Mapping[str, Any]) -> list[str]:
    """Names of the concepts of `protect=`."""
    return [one for one in (values["protect"] or "").split("+") if one]


def plans_of(
    method: str,
    parameters: Sequence[Parameter],
    setting: Setting,
    values: Mapping[str, Any],
    more: Sequence[str] = (),
    *,
    together: bool = False,
    mixtures: bool = False,
) -> list[FitPlan]:
    """One plan for each factor of a joint, so that they are shared with what fits a factor alone.

    Args:
        method: its name.
        parameters: of its row of the table.
        setting: of the run.
        values: of a SPEC.
        more: further concepts that are fitted alike.
        together: True for one plan of the whole joint.
        mixtures: whether `class` may say what lies between classes.

    Raises:
        InputError: an unknown concept or class, or one phrase without the other.
    """
    decisive = {one.name: values[one.name] for one in parameters if one.fits}
    if values.get("present") or values.get("absent"):
        check_class(method, from_phrases(values), values, mixtures=mixtures)
        named = {**decisive, "present": None, "absent": None}
        return [
            FitPlan(method, {**decisive, "concept": None}),
            *(FitPlan(method, {**named, "concept": one}) for one in dict.fromkeys(more)),
        ]
    name = values["concept"]
    check_class(method, setting.concept(name), values, mixtures=mixtures)
    factors = [name] if together else name.split(JOINT)
    return [FitPlan(method, {**decisive, "concept": one}) for one in dict.fromkeys([*factors, *more])]


def from_phrases(values: Mapping[str, Any]) -> Concept:
    """The concept of `present` and `absent`.

    Raises:
        InputError: one without the other.
    """
    if not (values["present"] and values["absent"]):
        raise InputError("present= and absent= make a concept together: give both texts")
    return concept_from_phrases(values["present"], values["absent"])


def recall_concepts(method: str, saved: Sequence[Fitted]) -> dict[str, str]:
    """A concept of the library by its name, a joint by those of its factors, another one by its two phrases."""
    concepts = [Concept.from_dict(one.card.concept) for one in saved]
    if all(one.name in concept_names() for one in concepts):
        return {"concept": JOINT.join(one.name for one in concepts)}
    if len(concepts) > 1:
        raise InputError(f"{method}: concepts from two phrases make no joint; attach them one by one")
    present, absent = (one.phrases[0] for one in concepts[0].classes)
    return {"present": present, "absent": absent}


def left_alone(values: Mapping[str, Any], call: Call, row: int, concepts: Sequence[Concept]) -> bool:
    """Whether the filter is on and an image's prompt names one of the concepts, or shows no one to have it."""
    if values["filter"] == "off" or not call.prompts:
        return False
    return any(reason_to_leave(call.prompts[row], one) is not None for one in concepts)


def check_class(method: str, concept: Concept, values: Mapping[str, Any], *, mixtures: bool = False) -> None:
    """Raises InputError for a `class` that the concept does not have; see `classes_of`."""
    given = values.get("class")
    if given is None:
        return
    if mixtures:
        checked_class(given, concept.class_names, method)
    elif given not in concept.class_names:
        raise InputError(f"{method}: class={given}, expected one of {', '.join(concept.class_names)}")


def classes_of(
    method: str,
    setting: Setting,
    concept: Concept,
    values: Mapping[str, Any],
    target: Mapping[str, float] | None = None,
    *,
    mixtures: bool = False,
) -> Callable[[Call], list[str]]:
    """For a call, the class of each image: the given one, else drawn from the target.

    Args:
        method: its name.
        setting: of the run.
        concept: whose classes.
        values: of a SPEC.
        target: class -> share; None takes the setting's.
        mixtures: whether what lies between classes may be asked for, as light:0.7+medium:0.3.

    Raises:
        InputError: a class that the concept does not have, or weights that do not sum to 1.
    """
    given = values["class"]
    if given is None:
        return _draw(setting, concept, values, target).classes
    check_class(method, concept, values, mixtures=mixtures)
    return lambda call: [given] * call.images


def assigned_classes(setting: Setting, concept: Concept, values: Mapping[str, Any]) -> dict[str, Assigned]:
    """For reports: the concept's own assignment; of a joint each factor's too. Empty where every image shows one."""
    if values["class"] is not None:
        return {}
    draw = _draw(setting, concept, values, None)
    found = {concept.name: Assigned(draw.mode, draw.one)}
    if len(concept.factors) > 1:
        for place, factor in enumerate(concept.factors):
            found[factor] = Assigned(
                draw.mode, lambda row, index, place=place: parts_of(concept, draw.one(row, index))[place]
            )
    return found


def parts_of(concept: Concept, shown: str) -> list[str]:
    """The class of each factor."""
    return shown.split(JOINT) if len(concept.factors) > 1 else [shown]


def _draw(
    setting: Setting, concept: Concept, values: Mapping[str, Any], target: Mapping[str, float] | None
) -> Assignment:
    wanted = setting.target(concept) if target is None else target
    return Assignment(target=wanted, mode=values["allocation"], seed=setting.seed)
