"""Fitting a direction of the initial noise: the axis, how strongly it decides, and what each prompt needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.errors import DeclinedError, InputError
from evenhand.host.runs import Onlooker, Runs
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.noise_laws import Law, shifted, tilted
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.noise_estimators import (
    Keep,
    NoiseAxis,
    label_axis,
    latents_after,
    paired_axis,
    predictions_at_first,
    svm_axis,
)
from evenhand.methods.probit import Handle, fit_handle
from evenhand.methods.vector_fit import Texts, concept_of
from evenhand.methods.vector_trials import Trials
from evenhand.records import Request, Settings

NAME = "noise-direction"
AXIS = "axis"
_SEEDS = 32
_STEPS = (0.0, 0.15, 0.3, 0.5)
"""Shares of the schedule after which latents are compared; the step with the strongest handle is taken."""
_WEIGHTS = (-2.0, 0.0, 2.0)
_LOOK = 8
"""Images per prompt at each of the three weights."""


class NoiseRecorder:
    """Keeps the initial noise of every image."""

    def __init__(self) -> None:
        self.noises: list[torch.Tensor] = []

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """The noise as it is."""
        self.noises.append(noise.detach().float().cpu())
        return noise

    def evidence(self) -> tuple[()]:
        """Nothing to tell."""
        return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looks:
    """Images that were read: their prompt row, where their coordinate lay, and the class, where there was one."""

    rows: tuple[str, ...] = ()
    coordinates: tuple[float, ...] = ()
    labels: tuple[int, ...] = ()

    def __add__(self, other: Looks) -> Looks:
        return Looks(
            rows=self.rows + other.rows,
            coordinates=self.coordinates + other.coordinates,
            labels=self.labels + other.labels,
        )

    def handle(self, classes: int) -> Handle:
        """The probit through all of them."""
        return fit_handle(self.rows, self.coordinates, self.labels, classes)


def fit_noise_direction(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Fit one concept's direction and calibrate it.

    Source: Latent Directions (arXiv:2406.06352), whose estimator is `svm`; calibration and the draw are our own.

    Args:
        fitting: the model and the fit judge.
        values: concept or present and absent, estimator, step, lowpass, channels, images.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know.
        DeclinedError: the noise does not decide what the concept's classes look like.

    Cost: runs of every class's prompt, then `images` + 24 images per prompt row.
    """
    concept = concept_of(values, fitting.setting.concept)
    fitting.check_attribute(NAME, concept)
    before = fitting.host.evaluations
    work = _Work(fitting, concept, values)
    neutral, noises = work.neutral()
    axes = work.axes(neutral, noises)
    name, axis, strengths = work.strongest(axes, neutral, noises)
    looks = work.read_along(axis, neutral, noises)
    for weight in _WEIGHTS:
        if weight:
            looks += work.look(axis, lambda row, weight=weight: shifted(weight), _LOOK, 1 if weight > 0 else 2)
    handle = looks.handle(len(axis.order))
    _refuse_weak(handle, fitting, concept)
    second = int(values["images"])
    if second:
        looks += work.look(axis, work.to_target(axis, handle), second, 3)
        handle = looks.handle(len(axis.order))
    _refuse_weak(handle, fitting, concept)
    effect = {
        "direction": name,
        "strengths": strengths,
        "strength": round(handle.strength, 4),
        "interval": [round(one, 4) for one in handle.interval()],
        "agreement": round(axis.agreement, 4),
        "images": len(looks.labels),
        "natural": {
            row: {one: round(float(share), 4) for one, share in zip(axis.order, handle.natural(row), strict=True)}
            for row in handle.cuts
            if row
        },
        "evaluations": fitting.host.evaluations - before,
    }
    return Fitted({AXIS: axis.axis.contiguous()}, work.card(axis, handle, effect))


def work_of_direction(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """Runs of the classes' prompts, and the images through which the direction is calibrated."""
    concept = concept_of(values, preview.setting.concept)
    rows = len(preview.rows(concept) or (None,))
    neutral = max(_LOOK, int(values["images"])) if values["estimator"] == "labels" else _LOOK
    looked = neutral + _LOOK * (len(_WEIGHTS) - 1) + int(values["images"])
    return [
        Work(what="runs of every class", images=_SEEDS * len(concept.classes), at_most=True),
        Work(what=f"calibration on {rows} prompts", images=looked * rows, at_most=True),
    ]


def handle_of(fitted: Fitted) -> tuple[Handle, tuple[str, ...]]:
    """The handle that was stored, and the classes in its order."""
    stored = fitted.card.calibration
    order = tuple(fitted.card.estimator["order"])
    cuts = {row: tuple(stored[f"cut {place}"][row] for place in range(1, len(order))) for row in stored["cut 1"]}
    return Handle(slope=stored["slope"][""], error=stored["error"][""], cuts=cuts), order


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
        self._trials = Trials.judged(fitting, concept, self._texts.neutral)
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

    def requests(self, images: int, look: int) -> list[Request]:
        """Each look has seeds of its own."""
        return self._trials.requests(images, first=100_000 * look)

    def neutral(self) -> tuple[Looks, torch.Tensor]:
        """Images of every row with their own noise, without coordinates yet, and those noises."""
        recorder = NoiseRecorder()
        # the estimator that learns from them needs many more
        images = int(self._values["images"]) if self._values["estimator"] == "labels" else _LOOK
        requests = self.requests(max(_LOOK, images), 0)
        samples = self._fitting.make([Onlooker("initial noise", recorder)], requests)
        noises = torch.cat(recorder.noises)[: len(requests)]
        labels = self._trials.read(samples)
        kept = [row for row, label in enumerate(labels) if label is not None]
        names = self._concept.class_names
        looks = Looks(
            rows=tuple(requests[row].row for row in kept),
            coordinates=(0.0,) * len(kept),
            labels=tuple(names.index(str(labels[row])) for row in kept),
        )
        return looks, noises[kept]

    def axes(self, neutral: Looks, noises: torch.Tensor) -> dict[str, NoiseAxis]:
        """The candidates by name: one for each step that is tried."""
        host, estimator, texts = self._fitting.host, self._values["estimator"], self._texts.classes
        if estimator == "labels":
            # the order of the classes is that of the prompts' latents at the first step
            order = paired_axis(predictions_at_first(host, texts, self._texts.neutral, self._runs()), Keep()).order
            numbers = [order.index(self._concept.class_names[label]) for label in neutral.labels]
            return {"labels": label_axis(noises, numbers, order, self._keep)}
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

    def strongest(
        self, axes: Mapping[str, NoiseAxis], neutral: Looks, noises: torch.Tensor
    ) -> tuple[str, NoiseAxis, dict[str, float]]:
        """The candidate that decides most in the neutral images, whose seeds no candidate has seen."""
        strengths = {
            name: round(self.read_along(axis, neutral, noises).handle(len(axis.order)).strength, 4)
            for name, axis in axes.items()
        }
        best = max(strengths, key=strengths.__getitem__)
        return best, axes[best], strengths

    def read_along(self, axis: NoiseAxis, neutral: Looks, noises: torch.Tensor) -> Looks:
        """The neutral images with their coordinates along an axis, and classes in its order."""
        names = self._concept.class_names
        along = noises.flatten(1).double() @ axis.axis.double().flatten()
        return Looks(
            rows=neutral.rows,
            coordinates=tuple(along.tolist()),
            labels=tuple(axis.order.index(names[label]) for label in neutral.labels),
        )

    def look(self, axis: NoiseAxis, law: Any, images: int, look: int) -> Looks:
        """Images of every row under a law for each."""
        requests = self.requests(images, look)
        laws = {row.name: law(row.name) for row in self._trials.rows}
        draw = NoiseDraw(
            name=NAME,
            axes={AXIS: axis.axis},
            laws=lambda call: [{AXIS: laws[request.row]} for request in call.requests or ()],
        )
        samples = self._fitting.make([draw], requests)
        found = [
            (one.request.row, float(one.evidence[NAME]["coordinates"][AXIS][1]), axis.order.index(str(label)))
            for one, label in zip(samples, self._trials.read(samples), strict=True)
            if label is not None
        ]
        rows, coordinates, labels = zip(*found, strict=True) if found else ((), (), ())
        return Looks(rows=rows, coordinates=coordinates, labels=labels)

    def to_target(self, axis: NoiseAxis, handle: Handle) -> Any:
        """For each row the law that the first looks would give it for the concept's own target."""
        names, target = self._concept.class_names, self._concept.reference
        wanted = [target[names.index(name)] for name in axis.order]

        def law(row: str) -> Law:
            return tilted(lambda places: handle.chances(row, places), wanted)

        return law

    def card(self, axis: NoiseAxis, handle: Handle, effect: Mapping[str, Any]) -> Card:
        fitting, values = self._fitting, self._values
        cuts = {
            f"cut {place}": {row: round(some[place - 1], 6) for row, some in handle.cuts.items()}
            for place in range(1, len(axis.order))
        }
        return Card(
            method=NAME,
            site="initial noise",
            frame=Frame.of(fitting.host, image_size=fitting.host.image_size(self._settings)),
            estimator={
                **{key: values[key] for key in ("estimator", "step", "lowpass", "channels", "images")},
                "order": list(axis.order),
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
                "slope": {"": round(handle.slope, 6)},
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
