"""Fitting directions of the initial noise: the axes, how strongly they decide, and what each prompt needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.concepts.prompts import PromptRow
from evenhand.concepts.wordings import caption_of
from evenhand.errors import InputError
from evenhand.host.runs import Runs
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.class_texts import Texts, concept_of
from evenhand.methods.embedding_projection import beside, fit_projection
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.method import Setting
from evenhand.methods.noise_ascents import GRADIENT, Found, row_ascents
from evenhand.methods.noise_calibration import LOOK, NAME, WEIGHTS, Calibration, begun, calibrate, sure_of
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
from evenhand.methods.noise_looks import Looking, Neutral, RowAxes
from evenhand.methods.noise_store import calibration_of, joined
from evenhand.methods.probit import Handle
from evenhand.methods.vector_trials import Trials
from evenhand.records import Settings

_SEEDS = 32
_STEPS = (0.0, 0.15, 0.3, 0.5)
"""Shares of the schedule after which latents are compared; the step with the strongest handle is taken."""


def fit_noise_direction(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Fit the directions of a concept, or of every factor of a joint, and calibrate them at once.

    Source: Latent Directions (arXiv:2406.06352), whose estimator is `svm`; the gradient, the calibration and the draw
    are our own.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, estimator, step, lowpass, channels, images; projection, the weight of an
            `embedding-projection` of each concept that acts too, in the gradients as well; 0 for none; and draw, where
            the law that calibrates is `clear`, with sure, where that is not the default.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know or cannot differentiate; a channel or a
            step that the model does not have.
        DeclinedError: the noise does not decide what the concept's classes look like.

    Cost: the ascents of every prompt row, or runs of every class's prompt, for each factor; then the work of `images` +
        8 images per prompt row, and of 16 more for each factor with estimators other than `gradient`. A quarter of
        that work makes images in all steps, the rest quick ones (`quick_images`).
    """
    concept = concept_of(values, fitting.setting.concept)
    fitting.check_attribute(NAME, concept)
    _check_model(fitting, values)
    before = fitting.host.evaluations
    factors = parted(concept, fitting.setting)
    projected = [fit_projection(fitting, one) for one in factors] if values["projection"] else []
    if projected:
        fitting = beside(fitting, projected, values["projection"])
    rows = Trials.judged(fitting, concept, Texts.of(factors[0]).neutral).rows
    works = [_Work(fitting, one, rows, values) for one in factors]
    looking = Looking(trials=works[0].trials, concepts=tuple(factors))
    neutral = looking.neutral(_neutral_images(values))
    some = [work.begun(looking, neutral[work.concept.name]) for work in works]
    handles = calibrate(looking, some, int(values["images"]), sure_of(values))
    moments = [one.tensors for one in projected] or [{}] * len(factors)
    fits = [
        Fitted({**one.axes.tensors(), **own}, work.card(one, handles[one.concept.name]))
        for work, one, own in zip(works, some, moments, strict=True)
    ]
    found = joined(concept, fits) if len(fits) > 1 else fits[0]
    effect = {**found.card.effect, "evaluations": fitting.host.evaluations - before}
    return dataclasses.replace(found, card=dataclasses.replace(found.card, effect=effect))


def parted(concept: Concept, setting: Setting) -> list[Concept]:
    """Those of a joint, else the concept itself."""
    return [setting.concept(name) for name in concept.factors] if len(concept.factors) > 1 else [concept]


def _neutral_images(values: Mapping[str, Any]) -> int:
    """Per prompt row; the estimator that learns from them needs many more."""
    return max(LOOK, int(values["images"])) if values["estimator"] == "labels" else LOOK


def work_of_direction(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """What finds the directions, and the images through which they are calibrated."""
    concept = concept_of(values, preview.setting.concept)
    rows, factors = len(preview.rows(concept) or (None,)), len(concept.factors)
    looked = _neutral_images(values) + int(values["images"])
    if values["estimator"] == GRADIENT:
        # two ways to average
        ascents = 2 * Rounds().rows * rows * factors
        what = f"ascents of {rows} prompts" + (f" for each of {factors} concepts" if factors > 1 else "")
        first = Work(what=what, differentiated=ascents, at_most=True)
    else:
        looked += LOOK * len(WEIGHTS) * factors
        classes = sum(len(one.classes) for one in parted(concept, preview.setting))
        first = Work(what="runs of every class", images=_SEEDS * classes, at_most=True)
    what = f"calibration on {rows} prompts, most in few steps but counted as whole ones"
    return [first, Work(what=what, images=looked * rows, at_most=True)]


class _Work:
    """Of one concept: its directions, and the card of what was found."""

    def __init__(
        self, fitting: Fitting, concept: Concept, rows: tuple[PromptRow, ...], values: Mapping[str, Any]
    ) -> None:
        self.concept = concept
        self._fitting, self._values = fitting, values
        self._texts = Texts.of(concept)
        # in several wordings: the words around a prompt's subject move its shares
        trials = Trials.judged(fitting, concept, self._texts.neutral, words=caption_of)
        self.trials = dataclasses.replace(trials, rows=rows)
        self._keep = Keep(lowpass=int(values["lowpass"]), channels=channels_of(values["channels"]))
        self._effect: dict[str, Any] = {}

    @property
    def _settings(self) -> Settings:
        return self._fitting.settings

    def _runs(self) -> Runs:
        seeds = tuple(
            image_seed(self._fitting.setting.seed, "fit", f"{self.concept.name} noise", index)
            for index in range(_SEEDS)
        )
        return Runs(seeds=seeds, steps=self._settings.steps, guidance=self._settings.guidance)

    def begun(self, looking: Looking, neutral: Neutral) -> Calibration:
        """The directions, chosen on neutral images whose seeds no candidate has seen."""
        if self._values["estimator"] == GRADIENT:
            found = row_ascents(self.trials, neutral, self._order(), self._keep)
            candidates = {GRADIENT: found.axes}
        else:
            found = Found()
            candidates = {
                name: RowAxes(common=one.axis, order=one.order, agreement=one.agreement)
                for name, one in self._axes(neutral).items()
            }
        strengths = {
            name: round(neutral.along(axes, self.concept).handle(len(axes.order)).strength, 4)
            for name, axes in candidates.items()
        }
        best = max(strengths, key=strengths.__getitem__)
        self._effect = {"direction": best, "strengths": strengths, **found.effect}
        return begun(looking, self.concept, candidates[best], neutral, found.looks)

    def _order(self) -> tuple[str, ...]:
        """The classes from one end to the other: of two as they are, of more in the order of the prompts' latents."""
        if len(self.concept.classes) == 2:
            return self.concept.class_names
        found = predictions_at_first(self._fitting.host, self._texts.classes, self._texts.neutral, self._runs())
        return paired_axis(found, Keep()).order

    def _axes(self, neutral: Neutral) -> dict[str, NoiseAxis]:
        """The candidates by name: one for each step that is tried."""
        host, estimator, texts = self._fitting.host, self._values["estimator"], self._texts.classes
        if estimator == "labels":
            order = self._order()
            numbers = [order.index(self.concept.class_names[label]) for label in neutral.labels]
            return {"labels": label_axis(neutral.noises, numbers, order, self._keep)}
        if estimator == "prediction":
            found = predictions_at_first(host, texts, self._texts.neutral, self._runs())
            return {"prediction": paired_axis(found, self._keep)}
        total, given = self._settings.steps, self._values["step"]
        steps = tuple(dict.fromkeys(int(share * total) for share in _STEPS)) if given is None else (int(given),)
        make = svm_axis if estimator == "svm" else paired_axis
        after = latents_after(host, texts, steps, self._runs())
        return {f"{estimator} at step {step}": make(some, self._keep) for step, some in after.items()}

    def card(self, one: Calibration, handle: Handle) -> Card:
        """What is said of the directions once they are calibrated."""
        fitting, values, axes, looks = self._fitting, self._values, one.axes, one.looks
        whole = looks.handle(len(axes.order))  # the handle itself says what a row needs, not what it shows unmoved
        shares = {
            row: {name: round(float(share), 4) for name, share in zip(axes.order, whole.natural(row), strict=True)}
            for row in whole.cuts
            if row
        }
        return Card(
            method=NAME,
            site="initial noise",
            frame=Frame.of(fitting.host, image_size=fitting.host.image_size(self._settings)),
            estimator={
                **{key: values[key] for key in ("estimator", "step", "lowpass", "channels", "images", "projection")},
                "order": list(axes.order),
                **{key: values[key] for key in ("draw", "sure") if key in values},
                **({"rounds": dataclasses.asdict(Rounds())} if values["estimator"] == GRADIENT else {}),
            },
            prompts={
                "neutral": self._texts.neutral,
                "classes": dict(self._texts.classes),
                "trials": [row.name for row in self.trials.rows],
            },
            seeds={"fit": fitting.setting.seed, "calibrate": fitting.setting.seed},
            judges={"fit": fitting.judge_hash},
            guidance=self._settings.guidance,
            steps=self._settings.steps,
            concept=self.concept.to_dict(),
            calibration=calibration_of(handle),
            effect={
                **self._effect,
                "strength": round(handle.strength, 4),
                "interval": [round(end, 4) for end in handle.interval()],
                "agreement": round(axes.agreement, 4),
                "worth": round(looks.worth),
                "natural": shares,
            },
        )


def channels_of(text: str | None) -> tuple[int, ...]:
    """Numbers of the channels of a specification; empty for all.

    Raises:
        InputError: no numbers.
    """
    if text is None:
        return ()
    parts = text.split("+")
    if not all(one.strip().isdecimal() for one in parts):
        raise InputError(f"{NAME}: channels={text}, expected numbers such as 0+2")
    return tuple(int(one) for one in parts)


def _check_model(fitting: Fitting, values: Mapping[str, Any]) -> None:
    """Raises InputError for channels or a step that the model does not have, before anything is made."""
    host, steps = fitting.host, fitting.settings.steps
    known = host.family.latent_channels or getattr(host.denoiser.config, "in_channels", None)
    if known is not None and any(one >= known for one in channels_of(values["channels"])):
        raise InputError(f"{NAME}: channels={values['channels']}, and the latents have channels 0 to {known - 1}")
    step = values["step"]
    if values["estimator"] in ("paired", "svm") and step is not None and step >= steps:
        raise InputError(f"{NAME}: step={step:g}, and the schedule has steps 0 to {steps - 1}")
