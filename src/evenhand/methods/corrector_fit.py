"""Fitting the stereotype corrector: images to learn from, the score, strengths, and whether it does anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.concept import JOINT
from evenhand.concepts.library import load_concept
from evenhand.concepts.prompts import PromptRow
from evenhand.concepts.wordings import caption_of
from evenhand.errors import DeclinedError, InputError
from evenhand.host.families import prediction_type
from evenhand.host.noise_level import noise_level
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.latent_correction import LatentCorrection
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.class_texts import Texts
from evenhand.methods.fitting import Fitted, Fitting, Preview, Work
from evenhand.methods.preference_score import (
    Finished,
    LevelOf,
    PreferenceScore,
    accuracy,
    tensors_of,
    train_score,
)
from evenhand.methods.prompt_mix import words_of
from evenhand.methods.vector_trials import Trials, calibrate, strength_in

NAME = "stereotype-corrector"
_HELD_OF = 8
"""One image of so many says how well the score reads, and is not learnt from."""
_LEAST_GAIN = 0.1
RESERVE = 2.0
"""The least strength: twice the margin, since derivatives of a model and other words pull harder than the trials."""


def fit_corrector(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Train the score on one attribute and calibrate how strongly each prompt and class must be moved.

    Source: implements the idea of RS-Corrector (arXiv:2312.04810).

    Args:
        fitting: the model and the fit judge.
        values: attribute or concept, group (another concept, for depiction), explicit, images, rounds, calibrate.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know.
        DeclinedError: no prompt shows two classes, or moving the latents does not show them.

    Cost: `explicit` images of every prompt row and class, `images` of every row, and the trials.
    """
    concept = fitting.setting.concept(values["concept"])
    if concept.kind != "attribute" or JOINT in concept.name:
        raise InputError(f"{NAME} corrects one attribute at a time; {concept.name} is none")
    if not fitting.knows(concept):
        raise InputError(f"{NAME} learns from images, and the fit judge does not know {concept.name}")
    before = fitting.host.evaluations
    texts = Texts.of(concept)
    trials = Trials.judged(fitting, concept, texts.neutral, words=caption_of)
    data, seen = _data(trials, int(values["explicit"]), int(values["images"]))
    level_of = _levels(fitting)
    held = torch.arange(len(data.labels)) % _HELD_OF == 0
    try:
        score = train_score(
            concept.class_names, data[~held], level_of, seed=fitting.setting.seed, rounds=int(values["rounds"])
        )
    except ValueError:
        raise DeclinedError(
            f"{NAME} declines on {fitting.host.name}: no prompt shows two classes of {concept.name}, also where it "
            "names them; use concept-vector"
        ) from None
    reads = accuracy(score, data[held], level_of, _timesteps(fitting))
    strengths = calibrate(trials, _show(score), concept.class_names, int(values["calibrate"]), RESERVE)
    effect = {
        "reads": reads,
        "natural": {name: round(seen.count(name) / max(1, len(seen)), 4) for name in concept.class_names},
        **_gain(trials, score, strengths),
        **_reference(trials, values["group"]),
        "evaluations": fitting.host.evaluations - before,
    }
    return Fitted(tensors_of(score), _card(trials, values, texts, strengths, effect))


def work_of(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """What a fit will make, as far as it is known before."""
    concept = preview.setting.concept(values["concept"])
    rows, classes = len(preview.rows(concept) or (None,)), len(concept.classes)
    return [
        Work(what=f"images of {rows} prompts that name a class", images=int(values["explicit"]) * rows * classes),
        Work(what=f"images of {rows} prompts", images=int(values["images"]) * rows),
        Work(
            what="calibration, where every prompt succeeds at the first strength",
            images=3 * int(values["calibrate"]) * rows * classes,
        ),
    ]


def _data(trials: Trials, explicit: int, images: int) -> tuple[Finished, list[str]]:
    """Finished latents of prompts that name a class and of neutral ones, by what is perceived; the neutral labels."""
    fitting, names = trials.fitting, list(trials.concept.class_names)
    role = dataclasses.replace(trials, role="fit")
    neutral = role.requests(images)
    wanted = list(neutral)
    for name in names:
        words = words_of(trials.concept, name)
        wanted += [
            dataclasses.replace(one, prompt=f"{one.prompt}, {words}") for one in role.requests(explicit, first=images)
        ]
    samples = fitting.make([], wanted)
    labels = trials.read(samples)
    rows = [row.name for row in trials.rows]
    kept = [k for k, (one, label) in enumerate(zip(samples, labels, strict=True)) if label and one.latents is not None]
    if not kept:
        return Finished(latents=torch.zeros(0, 1), labels=torch.zeros(0).long(), rows=torch.zeros(0).long()), []
    data = Finished(
        latents=torch.stack([torch.from_numpy(samples[k].latents).float() for k in kept]),
        labels=torch.tensor([names.index(str(labels[k])) for k in kept]),
        rows=torch.tensor([rows.index(wanted[k].row) for k in kept]),
    )
    return data, [label for label in labels[: len(neutral)] if label]


def _levels(fitting: Fitting) -> LevelOf:
    scheduler, prediction = fitting.host.pipe.scheduler, prediction_type(fitting.host.pipe)
    return lambda timestep: noise_level(scheduler, timestep, prediction)


def _timesteps(fitting: Fitting) -> list[float]:
    """Of the latents that each step of the model's own schedule leaves."""
    times = [float(one) for one in fitting.host.pipe.scheduler.timesteps]
    return [*times[1:], 0.0]


def _show(score: PreferenceScore) -> Callable[[str, float], Sequence[Attachable]]:
    def show(name: str, strength: float) -> Sequence[Attachable]:
        return [LatentCorrection(name=NAME, score=score, wanted=lambda call: [(name, strength)] * call.images)]

    return show


def _gain(trials: Trials, score: PreferenceScore, strengths: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Success of every class at its strength, on seeds of its own, and without.

    Raises:
        DeclinedError: on the mean the classes are hardly shown more often than without.
    """
    names = trials.concept.class_names
    requests = dataclasses.replace(trials, role="stop").requests(4, trials.spread(8))
    plain = trials.labels([], requests)

    def wanted(name: str) -> Callable[[Call], list[tuple[str, float]]]:
        return lambda call: [(name, strength_in(strengths, name, call, row)) for row in range(call.images)]

    shown = {
        name: trials.labels([LatentCorrection(name=NAME, score=score, wanted=wanted(name))], requests) for name in names
    }
    before = sum(plain.count(name) for name in names) / len(plain) / len(names)
    after = sum(shown[name].count(name) for name in names) / len(plain) / len(names)
    if after < before + _LEAST_GAIN:
        raise DeclinedError(
            f"{NAME} declines on {trials.fitting.host.name}: moving the latents shows the classes of "
            f"{trials.concept.name} in {100 * after:.0f} % of the images, without it in {100 * before:.0f} %; use "
            "concept-vector or prompt-mix"
        )
    return {
        "images": len(plain),
        "plain": {name: round(plain.count(name) / len(plain), 4) for name in names},
        "success": {name: round(some.count(name) / len(plain), 4) for name, some in shown.items()},
    }


def _reference(trials: Trials, group: str | None) -> dict[str, Any]:
    """How often the first class is shown with each group that a prompt names; the least of them is the target."""
    if group is None:
        return {}
    shares = {}
    for one in load_concept(group).classes:
        row = PromptRow(name=one.phrases[0], templates=(one.phrases[0],))
        read = [label for label in trials.labels([], trials.requests(64, [row])) if label is not None]
        shares[one.name] = round(read.count(trials.concept.class_names[0]) / max(1, len(read)), 4)
    return {"with_groups": shares}


def _card(
    trials: Trials,
    values: Mapping[str, Any],
    texts: Texts,
    strengths: Mapping[str, Mapping[str, float]],
    effect: Mapping[str, Any],
) -> Card:
    fitting, seed = trials.fitting, trials.seed
    return Card(
        method=NAME,
        site="latent",
        frame=Frame.of(fitting.host, image_size=fitting.host.image_size(fitting.settings)),
        estimator={
            "explicit": values["explicit"],
            "images": values["images"],
            "calibrate": values["calibrate"],
            "group": values["group"],
        },
        prompts={
            "neutral": texts.neutral,
            "classes": dict(texts.classes),
            "trials": [row.name for row in trials.rows],
        },
        seeds={"fit": seed, "calibrate": seed, "stop": seed},
        judges={"fit": fitting.judge_hash},
        guidance=fitting.settings.guidance,
        steps=fitting.settings.steps,
        concept=trials.concept.to_dict(),
        calibration=strengths,
        effect=effect,
    )
