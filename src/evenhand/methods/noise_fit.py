"""Fitting directions of the initial noise: the axes, how strongly they decide, and what each prompt needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.concepts.wordings import caption_of
from evenhand.errors import DeclinedError, InputError
from evenhand.host.runs import Runs
from evenhand.interventions.noise_laws import Law, clear, shifted, tilted
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.class_texts import Texts, concept_of
from evenhand.methods.embedding_projection import beside, fit_projection
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.noise_ascents import GRADIENT, Found, row_ascents
from evenhand.methods.noise_estimators import (
    Keep,
    NoiseAxis,
    label_axis,
    latents_after,
    paired_axis,
    predictions_at_first,
    svm_axis,
)
from evenhand.methods.noise_gradient import Rounds
from evenhand.methods.noise_looks import (
    AXIS,
    Look,
    Looking,
    Looks,
    Neutral,
    NoiseRecorder,
    RowAxes,
    counted,
    near_target,
    own_axes,
)
from evenhand.methods.probit import Handle
from evenhand.methods.vector_trials import Trials
from evenhand.records import Settings

__all__ = [
    "AXIS",
    "BESIDE",
    "CLEAR",
    "NAME",
    "NoiseRecorder",
    "concepts_beside",
    "fit_noise_direction",
    "handle_of",
    "law_of_shares",
    "own_axes",
    "work_of_direction",
]

NAME = "noise-direction"
BESIDE = "beside"
"""In plans and cards: the other factors of a joint, where projections act, since one's moves the other's shares."""
CLEAR = "clear"
"""The `draw` that is calibrated on its own, since it leads far from where the others do; in plans and cards."""
_SURE = 0.95
"""How often an image is to show the class that it is drawn for, by that law."""
_SEEDS = 32
_STEPS = (0.0, 0.15, 0.3, 0.5)
"""Shares of the schedule after which latents are compared; the step with the strongest handle is taken."""
_WEIGHTS = (-2.0, 0.0, 2.0)
_LOOK = 8
"""Images per prompt at each of the three weights."""
_PART = 48
"""Images per prompt whose work is spent before the law is solved again, where every row has a direction of its own."""


def fit_noise_direction(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Fit one concept's directions and calibrate them.

    Source: Latent Directions (arXiv:2406.06352), whose estimator is `svm`; the gradient, the calibration and the draw
    are our own.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, estimator, step, lowpass, channels, images; projection, the weight of an
            `embedding-projection` that acts too, in the gradients as well; 0 for none; and beside, where there is one,
            the concepts that are projected with this one, joined by +; draw, where the law that calibrates is `clear`.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know or cannot differentiate.
        DeclinedError: the noise does not decide what the concept's classes look like.

    Cost: the ascents of every prompt row, or runs of every class's prompt; then the work of `images` + 8 images per
    prompt row, and of 16 more for the estimators other than `gradient`. A quarter of that work makes images in all
    steps, the rest quick ones (`quick_images`).
    """
    concept = concept_of(values, fitting.setting.concept)
    fitting.check_attribute(NAME, concept)
    before = fitting.host.evaluations
    projected = _projected(fitting, concept, values)
    if projected:
        fitting = beside(fitting, projected, values["projection"])
    work = _Work(fitting, concept, values)
    neutral = work.neutral()
    name, axes, strengths, tried = work.chosen(neutral)
    looks, handle = work.calibrated(axes, neutral, tried.looks)
    whole = looks.handle(len(axes.order))  # the handle itself says what a row needs, not what it shows unmoved
    effect = {
        "direction": name,
        "strengths": strengths,
        "strength": round(handle.strength, 4),
        "interval": [round(one, 4) for one in handle.interval()],
        "agreement": round(axes.agreement, 4),
        "worth": round(looks.worth),
        "natural": {
            row: {one: round(float(share), 4) for one, share in zip(axes.order, whole.natural(row), strict=True)}
            for row in whole.cuts
            if row
        },
        **tried.effect,
        "evaluations": fitting.host.evaluations - before,
    }
    own = projected[0].tensors if projected else {}  # the others' are stored with their own directions
    return Fitted({**axes.tensors(), **own}, work.card(axes, handle, effect))


def _projected(fitting: Fitting, concept: Concept, values: Mapping[str, Any]) -> list[Fitted]:
    """The projections that act: of the concept itself first, then of those beside it."""
    if not values["projection"]:
        return []
    others = [fitting.setting.concept(name) for name in concepts_beside(values)]
    return [fit_projection(fitting, one) for one in (concept, *others)]


def concepts_beside(values: Mapping[str, Any]) -> list[str]:
    """Concepts that a plan, or the card of a fit, has projected together with its own."""
    given = values.get(BESIDE)
    return given.split("+") if given else []


def law_of_shares(handle: Handle, row: str, wanted: Sequence[float], draw: str | None) -> Law:
    """The law that a fit is calibrated under, by which a row has the wanted shares, in the direction's order."""

    def chances(places: np.ndarray) -> np.ndarray:
        return handle.chances(row, places)

    return clear(chances, wanted, _SURE) if draw == CLEAR else tilted(chances, wanted)


def work_of_direction(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """What finds the directions, and the images through which they are calibrated."""
    concept = concept_of(values, preview.setting.concept)
    rows = len(preview.rows(concept) or (None,))
    neutral = max(_LOOK, int(values["images"])) if values["estimator"] == "labels" else _LOOK
    if values["estimator"] == GRADIENT:
        looked = neutral + int(values["images"])
        # two ways to average
        first = Work(what=f"ascents of {rows} prompts", differentiated=2 * Rounds().rows * rows, at_most=True)
    else:
        looked = neutral + _LOOK * (len(_WEIGHTS) - 1) + int(values["images"])
        first = Work(what="runs of every class", images=_SEEDS * len(concept.classes), at_most=True)
    what = f"calibration on {rows} prompts, most in few steps but counted as whole ones"
    return [first, Work(what=what, images=looked * rows, at_most=True)]


def handle_of(fitted: Fitted) -> tuple[Handle, tuple[str, ...]]:
    """The handle that was stored, and the classes in its order."""
    stored = fitted.card.calibration
    order = tuple(fitted.card.estimator["order"])
    cuts = {row: tuple(stored[f"cut {place}"][row] for place in range(1, len(order))) for row in stored["cut 1"]}
    slopes = {row: one for row, one in stored["slope"].items() if row}
    return Handle(slope=stored["slope"][""], error=stored["error"][""], cuts=cuts, slopes=slopes), order


def _refuse_weak(handle: Handle, fitting: Fitting, concept: Concept) -> None:
    low, high = handle.interval()
    if not low > 0:
        raise DeclinedError(
            f"{NAME} declines on {fitting.host.name}: the initial noise does not decide {concept.name} "
            f"(handle {handle.strength:.2f}, 95 % interval {low:.2f} to {high:.2f}); use concept-vector or prompt-mix"
        )


class _Work:
    """One fit: prompts, seeds, and the runs that were made."""

    def __init__(self, fitting: Fitting, concept: Concept, values: Mapping[str, Any]) -> None:
        self._fitting, self._concept, self._values = fitting, concept, values
        self._texts = Texts.of(concept)
        # in several wordings: the words around a prompt's subject move its shares
        self._trials = Trials.judged(fitting, concept, self._texts.neutral, words=caption_of)
        self._looking = Looking(trials=self._trials)
        self._keep = Keep(lowpass=int(values["lowpass"]), channels=_channels(values["channels"]))

    @property
    def _settings(self) -> Settings:
        return self._fitting.settings

    def _runs(self) -> Runs:
        seeds = tuple(
            image_seed(self._fitting.setting.seed, "fit", f"{self._concept.name} noise", index)
            for index in range(_SEEDS)
        )
        return Runs(seeds=seeds, steps=self._settings.steps, guidance=self._settings.guidance)

    def neutral(self) -> Neutral:
        """Images of every row with their own noise."""
        # the estimator that learns from them needs many more
        images = int(self._values["images"]) if self._values["estimator"] == "labels" else _LOOK
        return self._looking.neutral(max(_LOOK, images))

    def chosen(self, neutral: Neutral) -> tuple[str, RowAxes, dict[str, float], Found]:
        """The directions, their name, how strong each candidate is in the neutral images, and what else was found."""
        if self._values["estimator"] == GRADIENT:
            found = row_ascents(self._trials, neutral, self._order(), self._keep)
            candidates = {GRADIENT: found.axes}
        else:
            found = Found()
            candidates = {
                name: RowAxes(common=one.axis, order=one.order, agreement=one.agreement)
                for name, one in self._axes(neutral).items()
            }
        strengths = {
            name: round(neutral.along(axes, self._concept).handle(len(axes.order)).strength, 4)
            for name, axes in candidates.items()
        }
        best = max(strengths, key=strengths.__getitem__)  # whose seeds no candidate has seen
        return best, candidates[best], strengths, found

    def calibrated(self, axes: RowAxes, neutral: Neutral, tried: Looks) -> tuple[Looks, Handle]:
        """The looks and the handle through them: each part of the images is made under the law of those before."""
        order, before = axes.order, neutral.along(axes, self._concept)
        images = int(self._values["images"])
        parts = [min(_PART, images - first) for first in range(0, images, _PART)] if axes.own else [images]
        if not axes.own:
            for weight in _WEIGHTS:
                if weight:
                    law = shifted(weight)
                    look = self._looking.look(axes, lambda row, law=law: law, _LOOK, 1 if weight > 0 else 2)
                    before += counted(look, order)
        looks, made = before, list[Look]()
        handle = (looks + tried).handle(len(order))
        for number, part in enumerate(parts if images else ()):
            _refuse_weak(handle, self._fitting, self._concept)
            made.append(self._looking.look(axes, self._to_target(axes, handle), part, 3 + number))
            looks = before + counted(sum(made, Look()), order)
            handle = counted(near_target(made), order).within(looks.handle(len(order)), len(order))
        _refuse_weak(handle, self._fitting, self._concept)
        return looks, handle

    def _order(self) -> tuple[str, ...]:
        """The classes from one end to the other: of two as they are, of more in the order of the prompts' latents."""
        if len(self._concept.classes) == 2:
            return self._concept.class_names
        found = predictions_at_first(self._fitting.host, self._texts.classes, self._texts.neutral, self._runs())
        return paired_axis(found, Keep()).order

    def _axes(self, neutral: Neutral) -> dict[str, NoiseAxis]:
        """The candidates by name: one for each step that is tried."""
        host, estimator, texts = self._fitting.host, self._values["estimator"], self._texts.classes
        if estimator == "labels":
            order = self._order()
            numbers = [order.index(self._concept.class_names[label]) for label in neutral.labels]
            return {"labels": label_axis(neutral.noises, numbers, order, self._keep)}
        if estimator == "prediction":
            found = predictions_at_first(host, texts, self._texts.neutral, self._runs())
            return {"prediction": paired_axis(found, self._keep)}
        total, given = self._settings.steps, self._values["step"]
        steps = tuple(dict.fromkeys(int(share * total) for share in _STEPS)) if given is None else (int(given),)
        if max(steps) >= total:
            raise InputError(f"{NAME}: step={max(steps)}, and the schedule has steps 0 to {total - 1}")
        make = svm_axis if estimator == "svm" else paired_axis
        after = latents_after(host, texts, steps, self._runs())
        return {f"{estimator} at step {step}": make(some, self._keep) for step, some in after.items()}

    def _to_target(self, axes: RowAxes, handle: Handle) -> Callable[[str], Law]:
        """For each row the law that a handle would give it for the concept's own target."""
        names, target = self._concept.class_names, self._concept.reference
        wanted = [target[names.index(name)] for name in axes.order]
        return lambda row: law_of_shares(handle, row, wanted, self._values.get("draw"))

    def card(self, axes: RowAxes, handle: Handle, effect: Mapping[str, Any]) -> Card:
        fitting, values = self._fitting, self._values
        cuts = {
            f"cut {place}": {row: round(some[place - 1], 6) for row, some in handle.cuts.items()}
            for place in range(1, len(axes.order))
        }
        return Card(
            method=NAME,
            site="initial noise",
            frame=Frame.of(fitting.host, image_size=fitting.host.image_size(self._settings)),
            estimator={
                **{key: values[key] for key in ("estimator", "step", "lowpass", "channels", "images", "projection")},
                "order": list(axes.order),
                **{key: values[key] for key in (BESIDE, "draw") if values.get(key)},
                **({"rounds": dataclasses.asdict(Rounds())} if values["estimator"] == GRADIENT else {}),
            },
            prompts={
                "neutral": self._texts.neutral,
                "classes": dict(self._texts.classes),
                "trials": [row.name for row in self._trials.rows],
            },
            seeds={"fit": fitting.setting.seed, "calibrate": fitting.setting.seed},
            judges={"fit": fitting.judge_hash},
            guidance=self._settings.guidance,
            steps=self._settings.steps,
            concept=self._concept.to_dict(),
            calibration={
                "slope": {"": round(handle.slope, 6), **{row: round(one, 6) for row, one in handle.slopes.items()}},
                "error": {"": round(float(np.nan_to_num(handle.error, posinf=1e6)), 6)},
                **cuts,
            },
            effect=effect,
        )


def _channels(text: Any) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in str(text or "").replace("+", " ").split())
    except ValueError:
        raise InputError(f"{NAME}: channels={text}, expected numbers such as 0+2") from None
