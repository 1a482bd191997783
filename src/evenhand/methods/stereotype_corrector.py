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

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import JOINT, Concept
from evenhand.concepts.library import concept_names, load_concept
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, InputError
from evenhand.host.runs import Onlooker, Runs, run
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assigned
from evenhand.interventions.latent_correction import LatentCorrection
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.fitting import FitPlan, Fitted, Fitting, Preview, Work
from evenhand.methods.method import ALLOCATION, Method, Parameter, Setting
from evenhand.methods.noise_estimators import Trajectory
from evenhand.methods.preference_score import (
    PreferenceScore,
    Trajectories,
    accuracy,
    score_of,
    tensors_of,
    train_score,
)
from evenhand.methods.shown_classes import CLASS, FILTER, assigned_classes, classes_of, left_alone
from evenhand.methods.vector_fit import Texts
from evenhand.methods.vector_trials import Trials, calibrate, strength_in

NAME = "stereotype-corrector"
_SEEDS = 48
_LEAST_GAIN = 0.1


def fit_corrector(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Train the score on one attribute and calibrate how strongly each prompt and class must be moved.

    Source: implements the idea of RS-Corrector (arXiv:2312.04810).

    Args:
        fitting: the model and the fit judge.
        values: attribute or concept, group (another concept, for depiction), images, calibrate.

    Raises:
        InputError: a safety concept, or one that the fit judge does not know.
        DeclinedError: moving the latents does not show the classes.

    Cost: 48 runs of every class's prompt, `images` images of every prompt row, and the trials.
    """
    concept = fitting.setting.concept(values["concept"])
    if concept.kind != "attribute" or JOINT in concept.name:
        raise InputError(f"{NAME} corrects one attribute at a time; {concept.name} is none")
    if not fitting.knows(concept):
        raise InputError(f"{NAME} learns from images, and the fit judge does not know {concept.name}")
    before = fitting.host.evaluations
    texts = Texts.of(concept)
    trials = Trials.judged(fitting, concept, texts.neutral)
    learnt, held_out, seen = _data(trials, texts, int(values["images"]))
    score = train_score(concept.class_names, learnt, seed=fitting.setting.seed)
    strengths = calibrate(trials, _show(score), concept.class_names, int(values["calibrate"]))
    reads = accuracy(score, held_out)
    effect = {
        "reads": reads,
        "natural": {name: round(seen.count(name) / max(1, len(seen)), 4) for name in concept.class_names},
        **_gain(trials, score, strengths),
        **_reference(trials, values["group"]),
        "evaluations": fitting.host.evaluations - before,
    }
    return Fitted(tensors_of(score), _card(trials, values, texts, strengths, effect))


def _work(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    concept = preview.setting.concept(values["concept"])
    rows = len(preview.rows(concept) or (None,))
    least = 3 * int(values["calibrate"]) * rows * len(concept.classes)
    return [
        Work(what="runs of every class", images=_SEEDS * len(concept.classes)),
        Work(what=f"images of {rows} prompts", images=int(values["images"]) * rows),
        Work(what="calibration, where every prompt succeeds at the first strength", images=least),
    ]


def _data(trials: Trials, texts: Texts, images: int) -> tuple[Trajectories, Trajectories, list[str]]:
    """Explicit runs and three quarters of the neutral ones to learn from, the other neutral ones to look at."""
    fitting, names = trials.fitting, list(trials.concept.class_names)
    steps = range(fitting.settings.steps)
    seeds = tuple(image_seed(trials.seed, "fit", f"{trials.concept.name} preference", k) for k in range(_SEEDS))
    runs = Runs(seeds=seeds, steps=len(steps), guidance=fitting.settings.guidance)
    latents, labels, pairs = [], [], []
    for place, text in enumerate(texts.classes.values()):
        kept = Trajectory(steps)
        with fitting.host.attached(Onlooker("latent", kept)):
            run(fitting.host, text, runs)
        latents.append(torch.stack([torch.cat(kept.latents[step]) for step in steps], dim=1))
        labels += [place] * _SEEDS
        pairs += list(range(_SEEDS))
    requests = dataclasses.replace(trials, role="fit").requests(images)
    kept = Trajectory(steps)
    samples = fitting.make([Onlooker("latent", kept)], requests)
    read = trials.read(samples)
    neutral = torch.stack([torch.cat(kept.latents[step])[: len(requests)] for step in steps], dim=1)
    known = [row for row, label in enumerate(read) if label is not None]
    own = torch.tensor([names.index(str(read[row])) for row in known], dtype=torch.long)
    moments = torch.tensor([kept.timesteps[step] for step in steps])
    learn, look = ([k for k in range(len(known)) if (k % 4 == 3) == held] for held in (False, True))
    learnt = Trajectories(
        latents=torch.cat([*latents, neutral[[known[k] for k in learn]]]),
        timesteps=moments,
        labels=torch.cat([torch.tensor(labels), own[learn]]),
        pairs=torch.tensor([*pairs, *[-1] * len(learn)]),
    )
    held_out = Trajectories(
        latents=neutral[[known[k] for k in look]],
        timesteps=moments,
        labels=own[look],
        pairs=torch.full((len(look),), -1),
    )
    return learnt, held_out, [str(read[row]) for row in known]


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
        estimator={"images": values["images"], "calibrate": values["calibrate"], "group": values["group"]},
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


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    decisive = {one.name: values[one.name] for one in METHOD.parameters if one.fits and one.name != "attribute"}
    setting.concept(values["concept"])
    if values["attribute"] is None:
        return [FitPlan(NAME, {**decisive, "concept": values["concept"], "group": None})]
    setting.concept(values["attribute"])
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
        Parameter(name="images", help="per prompt, to learn from", kind="number", default="16", fits=True),
        Parameter(
            name="calibrate",
            help="images per class and prompt",
            kind="number",
            default="6",
            fits=True,
        ),
    ),
    build=_build,
    plans=_plans,
    fit=fit_corrector,
    work=_work,
    assigns=_assigns,
    recall=_recall,
)
