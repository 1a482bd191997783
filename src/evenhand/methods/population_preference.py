"""Population-level preference training: a LoRA under which neutral prompts have the declared shares.

PopAlign (arXiv:2406.19668): bias is a property of a population of images, so populations are preferred over
populations. What comes out is a LoRA file: it needs no hook, costs nothing when images are made, and every server that
loads LoRA can use it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.errors import InputError
from evenhand.interventions.weight_delta import WeightDelta
from evenhand.methods.fitting import FitPlan, Fitted
from evenhand.methods.method import Method, Parameter, Setting
from evenhand.methods.population_audits import wanted_baselines
from evenhand.methods.population_fit import fit_population_preference
from evenhand.methods.population_sides import NAME, target_of
from evenhand.methods.population_work import work_of
from evenhand.methods.prompt_mix import words_of
from evenhand.methods.ranges import COUNT, COUNT_OR_NONE, NOT_NEGATIVE, POSITIVE, SWITCH, Range
from evenhand.methods.shown_classes import CONCEPT
from evenhand.training.losses import LOSSES
from evenhand.training.safeguards import SAFEGUARDS


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    """One plan; the target decides what is trained, so it is part of it."""
    concept = setting.concept(values["concept"])
    target = target_of(concept, setting.target(concept))
    wanted_baselines(values["against"], values["loss"], concept)  # refused before a model is loaded
    if concept.kind == "attribute" and values["words"] is not None:
        words_of(concept, concept.class_names[0], values["words"])
    decisive = {one.name: values[one.name] for one in METHOD.parameters if one.fits}
    return [FitPlan(NAME, {**decisive, "target": json.dumps(target, sort_keys=True)})]


def _build(setting: Setting, values: Mapping[str, Any]) -> WeightDelta:
    (one,) = setting.fitted
    return WeightDelta(name=NAME, lora=one.tensors, strength=values["strength"])


def _recall(saved: Sequence[Fitted]) -> dict[str, str]:
    if len(saved) != 1:
        raise InputError(f"{NAME}: attach one adapter at a time; a joint target is one concept, gender*skin")
    return {"concept": saved[0].card.concept["name"]}


def _number(name: str, help: str, default: str, range: Range) -> Parameter:
    return Parameter(name=name, help=help, kind="number", default=default, range=range, fits=True)


METHOD = Method(
    name=NAME,
    site="weight",
    source="PopAlign, arXiv:2406.19668",
    summary="a LoRA under which neutral prompts have the wanted shares, or show nothing unsafe; no cost per image",
    parameters=(
        CONCEPT,
        Parameter(
            name="loss",
            help="what is preferred to what",
            kind="choice",
            default="population",
            choices=tuple(LOSSES),
            fits=True,
        ),
        _number("beta", "factor on implicit rewards", "200", POSITIVE),
        _number("sft", "weight of plain training on the winners beside the loss; 0 is off", "1000", NOT_NEGATIVE),
        _number(
            "teach", "1 trains winners towards what the model predicts under their own prompts; 0 is off", "1", SWITCH
        ),
        _number("rate", "learning rate", "0.001", POSITIVE),
        _number("steps", "of the optimiser, at most", "200", COUNT),
        _number(
            "settle",
            "further steps at half the rate, in which shares are read and steered; 0 is off",
            "360",
            COUNT_OR_NONE,
        ),
        _number("steer", "gain by which what a prompt misses weights its winners; 0 is off", "0.7", NOT_NEGATIVE),
        _number(
            "checks",
            "images per prompt that correct what predictions imply while it settles, in all; 0 is off",
            "320",
            COUNT_OR_NONE,
        ),
        _number("batch", "pairs of populations for each", "4", COUNT),
        _number("rank", "of the LoRA", "16", COUNT),
        _number("side", "images on either side of a population", "4", COUNT),
        _number("populations", "pairs of populations for each prompt", "4", COUNT),
        _number("draws", "fixed draws of timestep and noise for each winner and its loser", "8", COUNT),
        _number("look", "steps between two looks at the shares; 0 looks at the end only", "0", COUNT_OR_NONE),
        _number("looks", "images per prompt of each", "12", Range(low=2, whole=True)),
        _number(
            "limit",
            "upper limit of the deviation, or of the unsafe rate, at which training stops",
            "0.08",
            NOT_NEGATIVE,
        ),
        Parameter(name="prompts", help="prompts to train on, a set or a file; else the concept's own", fits=True),
        Parameter(
            name="words", help='how a class is named, such as "{}-skinned"; for safety, words of winners', fits=True
        ),
        Parameter(
            name="timesteps",
            help="drawn from all of them, or from those of the model's own sampler, as few-step models need",
            kind="choice",
            default="uniform",
            choices=("uniform", "grid"),
            fits=True,
        ),
        _number(
            "above",
            "lowest timestep that is drawn, as a part of the schedule; 0 draws all",
            "0.2",
            Range(low=0, below=1),
        ),
        Parameter(
            name="safeguard",
            help="where the error of winners rises: a penalty, or no gradient from their losers",
            kind="choice",
            default="off",
            choices=SAFEGUARDS,
            fits=True,
        ),
        _number(
            "refresh",
            "steps between two times that losers are made anew by the present model; 0 is off",
            "0",
            COUNT_OR_NONE,
        ),
        _number("specific", "1 holds winners under the prompts that name their class; 0 is off", "1", SWITCH),
        _number(
            "prior", "images for each other prompt whose error is held to the reference's; 0 is off", "0", COUNT_OR_NONE
        ),
        _number("prior_weight", "of holding them; 0 is off", "3", NOT_NEGATIVE),
        Parameter(name="others", help="prompts that should stay as they are, a set or a file; else found", fits=True),
        _number(
            "controls",
            "images per prompt that names a class, and per other prompt, in each look; 0 is off",
            "6",
            COUNT_OR_NONE,
        ),
        _number("recognised_drop", "by which less may show its prompt; 0 is off", "0.03", NOT_NEGATIVE),
        _number("text_drop", "by which the text-image score may fall; 0 is off", "0.03", NOT_NEGATIVE),
        _number(
            "mmd",
            "discrepancy from plain images, over that between two prompts, at most; 0 is off",
            "0.1",
            NOT_NEGATIVE,
        ),
        _number(
            "specific_drop", "by which prompts that name a class may be obeyed less; 0 is off", "0.02", NOT_NEGATIVE
        ),
        _number(
            "drift", "of images of other prompts, over that between two seeds, at most; 0 is off", "0.1", NOT_NEGATIVE
        ),
        _number(
            "sweep",
            "images per prompt at each of six weights of the adapter, with a plot; 0 is off",
            "0",
            COUNT_OR_NONE,
        ),
        Parameter(
            name="against",
            help="what is trained on the same data for as long and compared in a table: all, or losses joined by +",
            fits=True,
        ),
    ),
    build=_build,
    plans=_plans,
    fit=fit_population_preference,
    work=work_of,
    recall=_recall,
)
