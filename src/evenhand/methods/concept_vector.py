"""Concept vectors: what an image shows of a concept is set inside the denoiser, while prompt and weights stay.

Li, Shen, Deng, Torr: Self-Discovering Interpretable Diffusion Latent Directions (CVPR 2024, arXiv:2311.17216). They
learn one vector per class at the middle block of the U-Net and add it to the conditional rows. Here the vectors may sit
at any module, come from one of three estimators (see `vector_estimators`), and by default the closed form's axes are
pinned instead of added (see `activation_pin`): that reaches classes between two others, and moves only the images that
need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evenhand.concepts.concept import JOINT, Concept
from evenhand.concepts.library import concept_names, load_concept
from evenhand.concepts.prompt_filter import reason_to_leave
from evenhand.errors import InputError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assigned, Assignment
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.vector_direction import NAME, SAFE, attachables, direction_of
from evenhand.methods.vector_fit import concept_of, fit_concept_vector
from evenhand.methods.vector_trials import strength_for

Wanted = Mapping[str, str]
"""Concept -> class that one image is to show; an empty mapping leaves the image alone."""


def vector_interventions(
    fitted: Sequence[Fitted],
    wanted: Callable[[Call], Sequence[Wanted]],
    *,
    strength: float = 1.0,
    name: str = NAME,
) -> tuple[Attachable, ...]:
    """Interventions that show in each image what is wanted of it, at the calibrated strength.

    Args:
        fitted: one per concept.
        wanted: for each image of a call the concepts and their classes.
        strength: factor on the calibrated strengths; 1 as calibrated, 0 is off.
        name: how reports call them.
    """
    calibrations = {one.card.concept["name"]: one.card.calibration for one in fitted}

    def with_strengths(call: Call) -> list[dict[str, tuple[str, float]]]:
        return [
            {concept: (shown, _strength(calibrations[concept], shown, call, row)) for concept, shown in one.items()}
            for row, one in enumerate(wanted(call))
        ]

    return attachables([direction_of(one) for one in fitted], with_strengths, strength=strength, name=name)


def _strength(calibration: Mapping[str, Mapping[str, float]], shown: str, call: Call, row: int) -> float:
    name = None if call.requests is None else call.requests[row].row
    prompt = None if call.prompts is None else call.prompts[row]
    return strength_for(calibration, shown, name, prompt)


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    """One for each factor of a joint, so that they are shared with what fits a factor alone."""
    decisive = {one.name: values[one.name] for one in METHOD.parameters if one.fits}
    if values["present"] or values["absent"]:
        concept_of(values, load_concept)
        return [FitPlan(NAME, {**decisive, "concept": None})]
    return [FitPlan(NAME, {**decisive, "concept": factor}) for factor in _factors(setting, values["concept"])]


def _factors(setting: Setting, name: str) -> tuple[str, ...]:
    setting.concept(name)  # an unknown one is refused here
    return tuple(name.split(JOINT)) if JOINT in name else (name,)


def _build(setting: Setting, values: Mapping[str, Any]) -> tuple[Attachable, ...]:
    concept = concept_of(values, setting.concept)
    if concept.kind == "safety":
        return vector_interventions(
            setting.fitted, lambda call: [{concept.name: SAFE}] * call.images, strength=values["strength"]
        )
    show = _classes(setting, concept, values)

    def wanted(call: Call) -> list[Wanted]:
        found: list[Wanted] = []
        for row, shown in enumerate(show(call)):
            left = values["filter"] == "on" and call.prompts and reason_to_leave(call.prompts[row], concept)
            parts = shown.split(JOINT) if JOINT in concept.name else [shown]
            found.append({} if left else dict(zip(concept.factors, parts, strict=True)))
        return found

    return vector_interventions(setting.fitted, wanted, strength=values["strength"])


def _assigns(setting: Setting, values: Mapping[str, Any]) -> dict[str, Assigned]:
    """The concept itself; of a joint each factor too."""
    concept = concept_of(values, setting.concept)
    if concept.kind == "safety" or values["class"] is not None:
        return {}
    draw = Assignment(target=setting.target(concept), mode=values["allocation"], seed=setting.seed)
    mode = draw.mode
    found = {concept.name: Assigned(mode, draw.one)}
    if JOINT in concept.name:
        for place, factor in enumerate(concept.factors):
            found[factor] = Assigned(mode, lambda row, index, place=place: draw.one(row, index).split(JOINT)[place])
    return found


def _classes(setting: Setting, concept: Concept, values: Mapping[str, Any]) -> Any:
    """For a call, the class of each image: the given one, else drawn from the target."""
    if values["class"] is not None:
        if values["class"] not in concept.class_names:
            raise InputError(f"{NAME}: class={values['class']}, expected one of {', '.join(concept.class_names)}")
        return lambda call: [values["class"]] * call.images
    return Assignment(target=setting.target(concept), mode=values["allocation"], seed=setting.seed).classes


def _recall(saved: Sequence[Fitted]) -> dict[str, str]:
    """A concept of the library by its name, a joint by those of its factors, another one by its two phrases."""
    concepts = [Concept.from_dict(one.card.concept) for one in saved]
    if all(one.name in concept_names() for one in concepts):
        return {"concept": JOINT.join(one.name for one in concepts)}
    if len(concepts) > 1:
        raise InputError(f"{NAME}: concepts from two phrases make no joint; attach them one by one")
    present, absent = (one.phrases[0] for one in concepts[0].classes)
    return {"present": present, "absent": absent}


METHOD = Method(
    name=NAME,
    site="activation",
    source="Self-discovered concept vectors, Li et al., CVPR 2024, arXiv:2311.17216",
    summary="sets what an image shows of a concept inside the denoiser; fair, safe, and for any concept",
    parameters=(
        Parameter(name="concept", help="a concept's name, or a joint", default="gender", fits=True),
        Parameter(name="present", help="a concept from two texts: this one says that it is there,", fits=True),
        Parameter(name="absent", help="and this one that it is not", fits=True),
        Parameter(name="class", help="the class that every image shows; else drawn from the target"),
        ALLOCATION,
        Parameter(
            name="filter",
            help="leaves prompts alone that name the attribute or show no one to have it",
            kind="choice",
            default="on",
            choices=("on", "off"),
        ),
        Parameter(
            name="estimator",
            help="how the vectors are found",
            kind="choice",
            default="mean-difference",
            choices=("mean-difference", "score-matching", "reconstruction"),
            fits=True,
        ),
        Parameter(name="act", help="pin the coordinate, or add", kind="choice", choices=("pin", "add"), fits=True),
        Parameter(
            name="module",
            help="path inside the denoiser, or cross-attention; auto tries several, from the middle block on",
            default="auto",
            fits=True,
        ),
        Parameter(
            name="shape",
            help="a vector for each place, or one for all places and image sizes",
            kind="choice",
            default="auto",
            choices=("auto", "spatial", "channels"),
            fits=True,
        ),
        Parameter(
            name="images", help="runs per class; else as many as 1,000 evaluations allow", kind="number", fits=True
        ),
        Parameter(
            name="calibrate", help="images per class and prompt; 0 is off", kind="number", default="6", fits=True
        ),
        Parameter(
            name="map",
            help="images per prompt for a map of the sites and steps where the concept is decided; 0 is off",
            kind="number",
            default="0",
            fits=True,
        ),
    ),
    build=_build,
    plans=_plans,
    fit=lambda fitting, values: fit_concept_vector(
        fitting, {**values, "act": values["act"] or ("pin" if values["estimator"] == "mean-difference" else "add")}
    ),
    assigns=_assigns,
    recall=_recall,
)
