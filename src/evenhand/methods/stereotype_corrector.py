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
from evenhand.concepts.prompt_filter import reason_to_leave
from evenhand.concepts.prompts import PromptRow
from evenhand.errors import DeclinedError, InputError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.assignment import Assigned, Assignment
from evenhand.interventions.latent_correction import LatentCorrection
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.fitting import FitPlan, Fitted, Fitting
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
from evenhand.methods.trajectories import Onlooker, Runs, run
from evenhand.methods.vector_fit import Texts
from evenhand.methods.vector_trials import Trials, calibrate, strength_for
from evenhand.records import Sample

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
    rows = fitting.rows(concept) or (PromptRow(name=texts.neutral, templates=(texts.neutral,)),)
    trials = Trials(
        fitting=fitting,
        concept=concept,
        rows=rows,
        read=lambda samples: [labels[0] for labels in fitting.read(samples, [concept])],
        seed=fitting.setting.seed,
    )
    learnt, held_out, seen = _data(trials, texts, int(values["images"]))
    score = train_score(concept.class_names, learnt, seed=fitting.setting.seed)
    strengths = calibrate(trials, _show(score), concept.class_names, int(values["calibrate"]))
    reads = accuracy(score, held_out)
    effect = {
        "reads": reads,
        "natural": {name: round(seen.count(name) / max(1, len(seen)), 4) for name in concept.class_names},
        **_gain(trials, score, strengths, fitting),
        **_reference(fitting, concept, values["group"]),
        "evaluations": fitting.host.evaluations - before,
    }
    return Fitted(tensors_of(score), _card(fitting, values, texts, concept, rows, strengths, effect))


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
    kept, times = Trajectory(steps), _Times()
    samples = fitting.make([Onlooker("latent", kept), Onlooker("latent", times)], requests)
    read = trials.read(samples)
    neutral = torch.stack([torch.cat(kept.latents[step])[: len(requests)] for step in steps], dim=1)
    known = [row for row, label in enumerate(read) if label is not None]
    own = torch.tensor([names.index(str(read[row])) for row in known], dtype=torch.long)
    moments = torch.tensor(times.timesteps)
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


class _Times:
    """Keeps the timestep of every step."""

    def __init__(self) -> None:
        self.timesteps: list[float] = []

    def update(self, step: Any, latents: torch.Tensor) -> torch.Tensor:
        """The latents as they are."""
        if step.index == len(self.timesteps):
            self.timesteps.append(step.timestep)
        return latents

    def evidence(self) -> tuple[()]:
        """Nothing to tell."""
        return ()


def _show(score: PreferenceScore) -> Callable[[str, float], Sequence[Attachable]]:
    def show(name: str, strength: float) -> Sequence[Attachable]:
        return [LatentCorrection(name=NAME, score=score, wanted=lambda call: [(name, strength)] * call.images)]

    return show


def _gain(
    trials: Trials, score: PreferenceScore, strengths: Mapping[str, Mapping[str, float]], fitting: Fitting
) -> dict[str, Any]:
    """Success of every class at its strength, on seeds of its own, and without.

    Raises:
        DeclinedError: on the mean the classes are hardly shown more often than without.
    """
    names = trials.concept.class_names
    requests = dataclasses.replace(trials, role="stop").requests(4, trials.spread(8))
    plain = trials.labels([], requests)

    def wanted(name: str) -> Callable[[Call], list[tuple[str, float]]]:
        return lambda call: [(name, _strength(strengths, name, call, row)) for row in range(call.images)]

    shown = {
        name: trials.labels([LatentCorrection(name=NAME, score=score, wanted=wanted(name))], requests) for name in names
    }
    before = sum(plain.count(name) for name in names) / len(plain) / len(names)
    after = sum(shown[name].count(name) for name in names) / len(plain) / len(names)
    if after < before + _LEAST_GAIN:
        raise DeclinedError(
            f"{NAME} declines on {fitting.host.name}: moving the latents shows the classes of {trials.concept.name} in "
            f"{100 * after:.0f} % of the images, without it in {100 * before:.0f} %; use concept-vector or prompt-mix"
        )
    return {
        "images": len(plain),
        "plain": {name: round(plain.count(name) / len(plain), 4) for name in names},
        "success": {name: round(some.count(name) / len(plain), 4) for name, some in shown.items()},
    }


def _reference(fitting: Fitting, concept: Concept, group: str | None) -> dict[str, Any]:
    """How often the first class is shown with each group that a prompt names; the least of them is the target."""
    if group is None:
        return {}
    named = load_concept(group)
    shares = {}
    for one in named.classes:
        row = PromptRow(name=one.phrases[0], templates=(one.phrases[0],))
        trials = Trials(
            fitting=fitting, concept=concept, rows=(row,), read=lambda samples: [], seed=fitting.setting.seed
        )
        samples: list[Sample] = fitting.make([], trials.requests(64))
        read = [labels[0] for labels in fitting.read(samples, [concept]) if labels[0] is not None]
        shares[one.name] = round(read.count(concept.class_names[0]) / max(1, len(read)), 4)
    return {"with_groups": shares}


def _card(
    fitting: Fitting,
    values: Mapping[str, Any],
    texts: Texts,
    concept: Concept,
    rows: Sequence[PromptRow],
    strengths: Mapping[str, Mapping[str, float]],
    effect: Mapping[str, Any],
) -> Card:
    return Card(
        method=NAME,
        site="latent",
        frame=Frame.of(fitting.host, image_size=fitting.host.image_size(fitting.settings)),
        estimator={"images": values["images"], "calibrate": values["calibrate"], "group": values["group"]},
        prompts={"neutral": texts.neutral, "classes": dict(texts.classes), "trials": [row.name for row in rows]},
        seeds={"fit": fitting.setting.seed, "calibrate": fitting.setting.seed, "stop": fitting.setting.seed},
        judges={"fit": fitting.judge_hash},
        guidance=fitting.settings.guidance,
        steps=fitting.settings.steps,
        concept=concept.to_dict(),
        calibration=strengths,
        effect=effect,
    )


def _strength(calibration: Mapping[str, Mapping[str, float]], shown: str, call: Call, row: int) -> float:
    name = None if call.requests is None else call.requests[row].row
    prompt = None if call.prompts is None else call.prompts[row]
    return strength_for(calibration, shown, name, prompt)


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
    if values["class"] is not None and values["class"] not in concept.class_names:
        raise InputError(f"{NAME}: class={values['class']}, expected one of {', '.join(concept.class_names)}")
    draw = Assignment(target=_target(setting, concept, values), mode=values["allocation"], seed=setting.seed)
    calibration = fitted.card.calibration

    def wanted(call: Call) -> list[tuple[str, float] | None]:
        shown = draw.classes(call) if values["class"] is None else [values["class"]] * call.images
        found: list[tuple[str, float] | None] = []
        for row, name in enumerate(shown):
            left = values["filter"] == "on" and call.prompts and reason_to_leave(call.prompts[row], concept)
            found.append(None if left else (name, _strength(calibration, name, call, row)))
        return found

    return LatentCorrection(name=NAME, score=score, wanted=wanted, strength=values["strength"])


def _target(setting: Setting, concept: Concept, values: Mapping[str, Any]) -> Mapping[str, float]:
    """The concept's target; for depiction the share that the attribute has with the group that has it least."""
    if values["attribute"] is None:
        return setting.target(concept)
    first, *others = concept.class_names
    least = min(setting.fitted[0].card.effect["with_groups"].values()) if setting.fitted else 0.5
    return {first: least, **{name: (1 - least) / len(others) for name in others}}


def _assigns(setting: Setting, values: Mapping[str, Any]) -> dict[str, Assigned]:
    if values["class"] is not None or values["attribute"] is not None:
        return {}
    concept = setting.concept(values["concept"])
    draw = Assignment(target=setting.target(concept), mode=values["allocation"], seed=setting.seed)
    return {concept.name: Assigned(draw.mode, draw.one)}


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
        Parameter(name="class", help="the class that every image shows; else drawn from the target"),
        ALLOCATION,
        Parameter(
            name="filter",
            help="leaves prompts alone that name the attribute or show no one to have it",
            kind="choice",
            default="on",
            choices=("on", "off"),
        ),
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
    assigns=_assigns,
    recall=_recall,
)
