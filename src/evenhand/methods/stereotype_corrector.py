"""The stereotype corrector: an anti-stereotypical preference in latent space moves the latents while they form.

RS-Corrector (Jiang, Lyu, Ma, Peng, Dong, arXiv:2312.04810) names the idea: establish such a preference, and update the
latent code at inference, with the model unchanged. No code and no figures of it are public, so this implements the
idea; score, loss, window, step size and targets are our own (see `preference_score` and
`interventions.latent_correction`).

- **Shares**: every image is assigned a class from the target, and moved towards it where it does not show it.
- **Depiction**, `concept=origin,attribute=scarf`: every image is to show the attribute as often as it is shown with the
  group that has it least, whatever group the prompt names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import concept_names
from evenhand.errors import InputError
from evenhand.host.sites import Call
from evenhand.interventions.assignment import Assigned
from evenhand.interventions.latent_correction import LatentCorrection
from evenhand.methods.corrector_fit import NAME, fit_corrector, work_of
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.preference_score import score_of
from evenhand.methods.ranges import COUNT, COUNT_OR_NONE, Range
from evenhand.methods.shown_classes import CLASS, FILTER, assigned_classes, check_class, classes_of, left_alone
from evenhand.methods.vector_trials import strength_in

ROUNDS = Range(low=20, whole=True)
"""The learning rate rises over a tenth of the rounds, which takes two."""


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    decisive = {one.name: values[one.name] for one in METHOD.parameters if one.fits and one.name != "attribute"}
    if values["attribute"] is None:
        check_class(NAME, setting.concept(values["concept"]), values)
        return [FitPlan(NAME, {**decisive, "concept": values["concept"], "group": None})]
    setting.concept(values["concept"])
    check_class(NAME, setting.concept(values["attribute"]), values)
    return [FitPlan(NAME, {**decisive, "concept": values["attribute"], "group": values["concept"]})]


def _build(setting: Setting, values: Mapping[str, Any]) -> LatentCorrection:
    (fitted,) = setting.fitted
    concept = Concept.from_dict(fitted.card.concept)
    score = score_of(fitted.tensors, concept.class_names)
    show = classes_of(NAME, setting, concept, values, _target(setting, concept, values))
    calibration = fitted.card.calibration

    def wanted(call: Call) -> list[tuple[str, float] | None]:
        return [
            None if left_alone(values, call, row, [concept]) else (name, strength_in(calibration, name, call, row))
            for row, name in enumerate(show(call))
        ]

    return LatentCorrection(name=NAME, score=score, wanted=wanted, strength=values["strength"])


def _target(setting: Setting, concept: Concept, values: Mapping[str, Any]) -> Mapping[str, float]:
    """The concept's target; for depiction the share that the attribute has with the group that has it least."""
    if values["attribute"] is None:
        return setting.target(concept)
    first, *others = concept.class_names
    least = min(setting.fitted[0].card.effect["with_groups"].values()) if setting.fitted else 0.5
    return {first: least, **{name: (1 - least) / len(others) for name in others}}


def _assigns(setting: Setting, values: Mapping[str, Any]) -> dict[str, Assigned]:
    """Of shares; in depiction what is assigned is not what the prompt names."""
    if values["attribute"] is not None:
        return {}
    return assigned_classes(setting, setting.concept(values["concept"]), values)


def _recall(saved: Sequence[Fitted]) -> dict[str, str]:
    concept, group = str(saved[0].card.concept["name"]), saved[0].card.estimator.get("group")
    if concept not in concept_names():
        raise InputError(f"{NAME}: the concept {concept!r} of the saved corrector is not in the library")
    return {"concept": concept} if group is None else {"concept": str(group), "attribute": concept}


METHOD = Method(
    name=NAME,
    site="latent",
    source="implements the idea of RS-Corrector, Jiang et al., arXiv:2312.04810",
    summary="moves the latents between steps towards what a preference score says; shares, and how a group is depicted",
    parameters=(
        Parameter(
            name="concept",
            help="whose shares; with attribute=, the group that a prompt names",
            default="gender",
            fits=True,
        ),
        Parameter(name="attribute", help="what is to be shown alike with every group of the concept", fits=True),
        CLASS,
        ALLOCATION,
        FILTER,
        Parameter(
            name="explicit",
            help="images per class and prompt that name it, to learn from",
            kind="number",
            default="24",
            range=COUNT_OR_NONE,
            fits=True,
        ),
        Parameter(
            name="images", help="neutral ones per prompt, likewise", kind="number", default="16", range=COUNT, fits=True
        ),
        Parameter(
            name="rounds", help="of the score's training", kind="number", default="2000", range=ROUNDS, fits=True
        ),
        Parameter(
            name="calibrate",
            help="images per class and prompt",
            kind="number",
            default="16",
            range=COUNT,
            fits=True,
        ),
    ),
    build=_build,
    plans=_plans,
    fit=fit_corrector,
    work=work_of,
    assigns=_assigns,
    recall=_recall,
)
