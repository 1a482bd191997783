"""Concept vectors: what an image shows of a concept is set inside the denoiser, while prompt and weights stay.

Li, Shen, Deng, Torr: Self-Discovering Interpretable Diffusion Latent Directions (CVPR 2024, arXiv:2311.17216). They
learn one vector per class at the middle block of the U-Net and add it to the conditional rows. Here the vectors may sit
at any module, come from one of three estimators (see `vector_estimators`), and by default the closed form's axes are
pinned instead of added (see `activation_pin`): that reaches classes between two others, and moves only the images that
need it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from evenhand.errors import InputError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assigned
from evenhand.methods.class_texts import concept_of
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.ranges import COUNT_OR_NONE, Range
from evenhand.methods.shown_classes import (
    CONCEPT,
    FILTER,
    PHRASES,
    assigned_classes,
    classes_of,
    left_alone,
    parts_of,
    plans_of,
    protected_of,
    recall_concepts,
)
from evenhand.methods.vector_direction import NAME, SAFE, attachables, direction_of
from evenhand.methods.vector_fit import fit_concept_vector, work_of_vectors
from evenhand.methods.vector_trials import strength_in

HALVED = Range(low=2, whole=True)
"""Runs of which each half has a mean: the control compares them."""

Wanted = Mapping[str, str]
"""Concept -> class that one image is to show; an empty mapping leaves the image alone."""


def vector_interventions(
    fitted: Sequence[Fitted],
    wanted: Callable[[Call], Sequence[Wanted]],
    *,
    strength: float = 1.0,
    name: str = NAME,
    acting: Collection[str] | None = None,
) -> tuple[Attachable, ...]:
    """Interventions that show in each image what is wanted of it, at the calibrated strength.

    Args:
        fitted: one per concept.
        wanted: for each image of a call the concepts and their classes.
        strength: factor on the calibrated strengths; 1 as calibrated, 0 is off.
        name: how reports call them.
        acting: concepts that are ever wanted, where others are only protected; None for all.
    """
    calibrations = {one.card.concept["name"]: one.card.calibration for one in fitted}

    def with_strengths(call: Call) -> list[dict[str, tuple[str, float]]]:
        return [
            {concept: (shown, strength_in(calibrations[concept], shown, call, row)) for concept, shown in one.items()}
            for row, one in enumerate(wanted(call))
        ]

    directions = [direction_of(one) for one in fitted]
    return attachables(directions, with_strengths, strength=strength, name=name, acting=acting)


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    if values["act"] == "pin" and values["estimator"] != "mean-difference":
        raise InputError(
            f"{NAME}: act=pin needs the closed form's landmarks; use act=add with estimator={values['estimator']}"
        )
    return plans_of(NAME, METHOD.parameters, setting, values, protected_of(values), mixtures=True)


def _build(setting: Setting, values: Mapping[str, Any]) -> tuple[Attachable, ...]:
    concept = concept_of(values, setting.concept)
    lacking = set(protected_of(values)) - {one.card.concept["name"] for one in setting.fitted}
    if lacking:
        raise InputError(
            f"{NAME}: protect={'+'.join(sorted(lacking))} is not among what was saved; name the concepts, as in "
            f"{NAME}:concept={concept.name},protect={'+'.join(sorted(lacking))}"
        )
    if concept.kind == "safety":
        return vector_interventions(
            setting.fitted, lambda call: [{concept.name: SAFE}] * call.images, strength=values["strength"]
        )
    show = classes_of(NAME, setting, concept, values, mixtures=True)

    def wanted(call: Call) -> list[Wanted]:
        found: list[Wanted] = []
        for row, shown in enumerate(show(call)):
            left = left_alone(values, call, row, [concept])
            found.append({} if left else dict(zip(concept.factors, parts_of(concept, shown), strict=True)))
        return found

    return vector_interventions(setting.fitted, wanted, strength=values["strength"], acting=concept.factors)


def _assigns(setting: Setting, values: Mapping[str, Any]) -> dict[str, Assigned]:
    concept = concept_of(values, setting.concept)
    return {} if concept.kind == "safety" else assigned_classes(setting, concept, values)


METHOD = Method(
    name=NAME,
    site="activation",
    source="Self-discovered concept vectors, Li et al., CVPR 2024, arXiv:2311.17216",
    summary="sets what an image shows of a concept inside the denoiser; fair, safe, and for any concept",
    parameters=(
        CONCEPT,
        *PHRASES,
        Parameter(
            name="class",
            help="the class that every image shows, or between some, light:0.7+medium:0.3; else drawn from the target",
        ),
        ALLOCATION,
        FILTER,
        Parameter(name="protect", help="concepts whose coordinates stay where they share a site, joined by +"),
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
            name="images",
            help="runs per class; else as many as 1,000 evaluations allow",
            kind="number",
            range=HALVED,
            fits=True,
        ),
        Parameter(
            name="calibrate",
            help="images per class and prompt; 0 is off",
            kind="number",
            default="6",
            range=COUNT_OR_NONE,
            fits=True,
        ),
        Parameter(
            name="map",
            help="images per prompt for a map of the sites and steps where the concept is decided; 0 is off",
            kind="number",
            default="0",
            range=COUNT_OR_NONE,
            fits=True,
        ),
    ),
    build=_build,
    plans=_plans,
    fit=lambda fitting, values: fit_concept_vector(
        fitting, {**values, "act": values["act"] or ("pin" if values["estimator"] == "mean-difference" else "add")}
    ),
    work=work_of_vectors,
    assigns=_assigns,
    recall=lambda saved: recall_concepts(NAME, saved),
)
