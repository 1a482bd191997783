"""Directions of the initial noise: prompt, embeddings, weights and every denoiser call stay as they are.

Latent Directions (CVPR workshop ReGenAI 2024, arXiv:2406.06352) add ten times a unit vector to the noise of every
image. Here the coordinate along the direction is drawn from a law (see `interventions.noise_laws`) that is solved for,
from how strongly the direction decides (see `probit`) and from how often each prompt shows each class by itself:

- `mode=share`: one law for all images of a prompt, under which they have the target's shares. Which image shows which
  class is not known beforehand.
- `mode=label`: every image is assigned a class, and gets a law under which it shows it.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.errors import DeclinedError, EvenhandWarning, InputError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assigned
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.noise_laws import Law
from evenhand.methods.class_texts import concept_of
from evenhand.methods.embedding_projection import MOMENTS, text_map
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.noise_calibration import CLEAR, LEAST, NAME, SURE, made_clear, sure_of
from evenhand.methods.noise_coordinate import DRAWS, Coordinate
from evenhand.methods.noise_fit import channels_of, fit_noise_direction, parted, work_of_direction
from evenhand.methods.noise_looks import AXIS, own_axes
from evenhand.methods.noise_store import concepts_together, factors_of, handle_of
from evenhand.methods.ranges import COUNT, COUNT_OR_NONE, NOT_NEGATIVE, Range
from evenhand.methods.shown_classes import (
    CLASS,
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
from evenhand.methods.vector_trials import row_and_prompt, row_for

MISSED = 0.1
"""How far the share that a law leads to may be from the wanted one before a warning names the prompt."""


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    """Of the concept, or of a joint as a whole, whose directions are calibrated at once; and of each protected one."""
    channels_of(values["channels"])
    plans = plans_of(NAME, METHOD.parameters, setting, values, protected_of(values), together=True)
    _check_draw(parted(concept_of(values, setting.concept), setting), values)
    if values["draw"] not in (None, CLEAR):
        return plans
    return [_clearly(plan, values["sure"]) if _has_two_classes(plan, setting) else plan for plan in plans]


def _check_draw(factors: Sequence[Concept], values: Mapping[str, Any]) -> None:
    """Raises InputError where a form of the law says nothing of what is wanted."""
    if values["draw"] == "truncated" and not _labels(values):
        raise InputError(
            f"{NAME}: draw=truncated draws within the class that an image is assigned, and mode=share assigns none; "
            "add mode=label"
        )
    many = next((one for one in factors if len(one.classes) > 2), None)
    if values["draw"] == "antithetic" and many is not None:
        raise InputError(
            f"{NAME}: draw=antithetic takes concepts of two classes, {many.name} has {len(many.classes)}; use "
            "draw=truncated with mode=label"
        )


def _has_two_classes(plan: FitPlan, setting: Setting) -> bool:
    """Whether the clear law is for a concept, or for a factor of a joint."""
    factors = parted(concept_of(plan.values, setting.concept), setting)
    return any(made_clear(len(one.classes)) for one in factors)


def _clearly(plan: FitPlan, sure: float) -> FitPlan:
    own = {"draw": CLEAR} if sure == SURE else {"draw": CLEAR, "sure": sure}
    return dataclasses.replace(plan, values={**plan.values, **own})


def _build(setting: Setting, values: Mapping[str, Any]) -> tuple[Attachable, ...]:
    setting = dataclasses.replace(setting, fitted=tuple(one for some in setting.fitted for one in factors_of(some)))
    concept = concept_of(values, setting.concept)
    values = {**values, "draw": values["draw"] or _calibrated_draw(setting.fitted)}
    _check_calibrated(setting.fitted, concept, values)
    axes = {one.card.concept["name"]: one.tensors[AXIS] for one in setting.fitted}
    own: dict[str, dict[str, torch.Tensor]] = {}
    for one in setting.fitted:
        for row, axis in own_axes(one.tensors).items():
            own.setdefault(row, {})[one.card.concept["name"]] = axis
    solved = _Solved(setting, concept, values)
    _within_budget(solved, concept, values)
    draw = NoiseDraw(
        name=NAME,
        axes=axes,
        own=own,
        laws=_laws(setting, concept, values, solved),
        rows=lambda call: [row_for(own, *row_and_prompt(call, place)) for place in range(call.images)],
        renorm=values["renorm"],
        additive=values["draw"] == "additive",
        strength=values["strength"],
    )
    return (*_projections(setting.fitted, concept, values), draw)


def _calibrated_draw(fitted: Sequence[Fitted]) -> str:
    """The law that is drawn by where none is named."""
    return CLEAR if any(sure_of(one.card.estimator) is not None for one in fitted) else LEAST


def _check_calibrated(fitted: Sequence[Fitted], concept: Concept, values: Mapping[str, Any]) -> None:
    """Raises InputError where directions are to be used in a way that their calibration says nothing of."""
    draw, sure = values["draw"], sure_of(values)
    for one in fitted:
        own, clearly = one.card.concept["name"], one.card.estimator.get("draw") == CLEAR
        if clearly and draw != CLEAR:
            raise InputError(f"{NAME}: this direction of {own} was calibrated for draw={CLEAR} alone; leave draw= out")
        if draw == CLEAR and not clearly and made_clear(len(one.card.estimator["order"])):
            raise InputError(
                f"{NAME}: draw={CLEAR} needs a fit of its own, and this direction of {own} has another one"
            )
        calibrated = sure_of(one.card.estimator)
        if calibrated != sure and sure is not None and calibrated is not None:
            raise InputError(f"{NAME}: this direction of {own} was calibrated for sure={calibrated:g}; leave sure= out")
        lacking = [name for name in concepts_together(one) if name not in concept.factors]
        if own in concept.factors and lacking:
            raise InputError(
                f"{NAME}: this direction of {own} was calibrated together with {', '.join(lacking)}, which does not "
                f"act here; leave concept= out, or fit {own} alone"
            )


def _projections(fitted: Sequence[Fitted], concept: Concept, values: Mapping[str, Any]) -> tuple[Attachable, ...]:
    """The embedding projection of the acting concepts that were calibrated with one."""
    acting = [one for one in fitted if MOMENTS in one.tensors and one.card.concept["name"] in concept.factors]
    if not acting:
        return ()

    def wanted(call: Call) -> list[bool]:
        return [not left_alone(values, call, place, [concept]) for place in range(call.images)]

    weighted = [(one, float(one.card.estimator["projection"])) for one in acting]
    return (text_map(weighted, wanted, strength=values["strength"]),)


class _Solved:
    """The laws that were solved for: each once for a concept, row and class."""

    def __init__(self, setting: Setting, concept: Concept, values: Mapping[str, Any]) -> None:
        self._targets = _marginals(setting, concept)
        self._known: dict[tuple[str, str, str | None], Law] = {}
        self.coordinates: dict[str, Coordinate] = {}
        for one in setting.fitted:
            handle, order = handle_of(one)
            own = Concept.from_dict(one.card.concept)
            self.coordinates[own.name] = Coordinate(
                concept=own,
                handle=handle,
                order=order,
                draw=values["draw"],
                sure=sure_of(values),
                weight=values["weight"],
            )

    def law(self, name: str, row: str, shown: str | None) -> Law:
        """For an image of a row: of the concept's shares, or of the class that it is to show."""
        key = (name, row, shown)
        if key not in self._known:
            one = self.coordinates[name]
            self._known[key] = one.to_share(row, self._targets[name]) if shown is None else one.to_class(row, shown)
        return self._known[key]


def _laws(
    setting: Setting, concept: Concept, values: Mapping[str, Any], solved: _Solved
) -> Callable[[Call], list[Mapping[str, Law]]]:
    """For each image of a call, the law of each factor's coordinate."""
    show = classes_of(NAME, setting, concept, values) if _labels(values) else None
    rows = solved.coordinates[concept.factors[0]].handle.cuts

    def laws(call: Call) -> list[Mapping[str, Law]]:
        shown = [None] * call.images if show is None else show(call)
        found: list[Mapping[str, Law]] = []
        for place, one in enumerate(shown):
            if left_alone(values, call, place, [concept]):
                found.append({})
                continue
            row = row_for(rows, *row_and_prompt(call, place))
            parts = [None] * len(concept.factors) if one is None else parts_of(concept, one)
            found.append({name: solved.law(name, row, part) for name, part in zip(concept.factors, parts, strict=True)})
        return found

    return laws


def _labels(values: Mapping[str, Any]) -> bool:
    """Whether every image has a class of its own."""
    return values["mode"] == "label" or values["class"] is not None or values["draw"] in ("antithetic", "additive")


def _marginals(setting: Setting, concept: Concept) -> dict[str, dict[str, float]]:
    """Factor -> share per class: of a joint target the sums over the other factors."""
    target = setting.target(concept)
    found: dict[str, dict[str, float]] = {name: {} for name in concept.factors}
    for shown, share in target.items():
        for name, part in zip(concept.factors, parts_of(concept, shown), strict=True):
            found[name][part] = found[name].get(part, 0.0) + share
    return found


def _within_budget(solved: _Solved, concept: Concept, values: Mapping[str, Any]) -> None:
    """Says which calibrated prompts no law gives their shares.

    Raises:
        DeclinedError: one would cost more nats than allowed, or none gets its shares.
    """
    if values["draw"] == "additive":
        return  # the baseline spends what it spends
    for name in concept.factors:
        one = solved.coordinates[name]
        classes = [None] if not _labels(values) else [values["class"]] if values["class"] in one.order else one.order
        missed = []
        for row in one.handle.cuts:
            laws = [solved.law(name, row, shown) for shown in classes]
            nats = max(law.kl for law in laws)
            if nats > values["kl_budget"]:
                raise DeclinedError(
                    f"{NAME} declines: {row or 'a prompt'} would need {nats:.0f} nats for {name} and kl_budget is "
                    f"{values['kl_budget']:g}; give it more, or use concept-vector"
                )
            missed += [row] if row and max(law.missed for law in laws) > MISSED else []
        _say_missed(name, missed, [row for row in one.handle.cuts if row])


def _say_missed(name: str, missed: Sequence[str], rows: Sequence[str]) -> None:
    """Warns of prompts whose shares the noise cannot give; declines where that is all of them."""
    if missed and len(missed) == len(rows):
        raise DeclinedError(f"{NAME} declines: the noise gives no prompt its shares of {name}; use concept-vector")
    if missed:
        warnings.warn(
            EvenhandWarning(
                f"{NAME}: no law of the noise gives the wanted shares of {name} in {', '.join(missed)}; they come as "
                "near as it gets, and concept-vector is the method there"
            ),
            stacklevel=2,
        )


def _recall(saved: Sequence[Fitted]) -> dict[str, str]:
    """Concepts, and the law that they were calibrated under, where it is the clear one."""
    saved = [one for some in saved for one in factors_of(some)]
    clear = {sure for one in saved if (sure := sure_of(one.card.estimator)) is not None}  # three classes never are
    law = {"draw": CLEAR} if clear else {}
    return {**recall_concepts(NAME, saved), **law, **({"sure": f"{max(clear):g}"} if clear - {SURE} else {})}


def _assigns(setting: Setting, values: Mapping[str, Any]) -> dict[str, Assigned]:
    """In mode label."""
    return assigned_classes(setting, concept_of(values, setting.concept), values) if _labels(values) else {}


METHOD = Method(
    name=NAME,
    site="initial noise",
    source="Latent Directions, CVPR workshop ReGenAI 2024, arXiv:2406.06352",
    summary="draws the initial noise so that the images have the wanted shares; costs nothing when images are made",
    parameters=(
        CONCEPT,
        *PHRASES,
        Parameter(
            name="mode",
            help="shares, or a class for every image",
            kind="choice",
            default="share",
            choices=("share", "label"),
        ),
        CLASS,
        ALLOCATION,
        Parameter(
            name="draw",
            help=f"form of the law; else as it was calibrated: {CLEAR} for two classes, {LEAST} for more",
            kind="choice",
            choices=DRAWS,
        ),
        Parameter(
            name="sure",
            help=f"of draw={CLEAR}: how often an image shows the class that it is drawn for",
            kind="number",
            default=f"{SURE:g}",
            range=Range(above=0.5, below=1),
        ),
        Parameter(
            name="weight",
            help="of draw=additive, in standard deviations",
            kind="number",
            default="10",
            range=NOT_NEGATIVE,
        ),
        Parameter(
            name="renorm",
            help="none, or chi: give the noise its norm back",
            kind="choice",
            default="none",
            choices=("none", "chi"),
        ),
        Parameter(name="protect", help="concepts whose coordinate stays, joined by +", fits=False),
        Parameter(name="kl_budget", help="nats an image may cost", kind="number", default="50", range=NOT_NEGATIVE),
        FILTER,
        Parameter(
            name="estimator",
            help="how the direction is found",
            kind="choice",
            default="gradient",
            choices=("gradient", "paired", "svm", "prediction", "labels"),
            fits=True,
        ),
        Parameter(
            name="step",
            help="after which latents are compared; else the strongest of four",
            kind="number",
            range=COUNT_OR_NONE,
            fits=True,
        ),
        Parameter(
            name="lowpass",
            help="cosine modes kept along each side; 0 keeps all",
            kind="number",
            default="0",
            range=COUNT_OR_NONE,
            fits=True,
        ),
        Parameter(name="channels", help="of the latents, joined by +; else all", fits=True),
        Parameter(
            name="images",
            help="per prompt, whose work calibrates at the target",
            kind="number",
            default="400",
            range=COUNT,
            fits=True,
        ),
        Parameter(
            name="projection",
            help="weight of an embedding-projection that acts too, so that the noise has less to move; 0 is none",
            kind="number",
            default="0",
            range=NOT_NEGATIVE,
            fits=True,
        ),
    ),
    build=_build,
    plans=_plans,
    fit=fit_noise_direction,
    work=work_of_direction,
    assigns=_assigns,
    recall=_recall,
)
