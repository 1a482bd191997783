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
from evenhand.methods.population_fit import NAME, fit_population_preference
from evenhand.methods.shown_classes import CONCEPT
from evenhand.training.losses import LOSSES


def _plans(setting: Setting, values: Mapping[str, Any]) -> list[FitPlan]:
    """One plan; the target decides what is trained, so it is part of it."""
    concept = setting.concept(values["concept"])
    target = dict(setting.target(concept))
    decisive = {one.name: values[one.name] for one in METHOD.parameters if one.fits}
    return [FitPlan(NAME, {**decisive, "target": json.dumps(target, sort_keys=True)})]


def _build(setting: Setting, values: Mapping[str, Any]) -> WeightDelta:
    (one,) = setting.fitted
    return WeightDelta(name=NAME, lora=one.tensors, strength=values["strength"])


def _recall(saved: Sequence[Fitted]) -> dict[str, str]:
    if len(saved) != 1:
        raise InputError(f"{NAME}: attach one adapter at a time; a joint target is one concept, gender*skin")
    return {"concept": saved[0].card.concept["name"]}


def _number(name: str, help: str, default: str) -> Parameter:
    return Parameter(name=name, help=help, kind="number", default=default, fits=True)


METHOD = Method(
    name=NAME,
    site="weight",
    source="PopAlign, arXiv:2406.19668",
    summary="a LoRA under which neutral prompts have the wanted shares; no hook and no cost when images are made",
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
        _number("beta", "factor on implicit rewards", "2000"),
        _number("rate", "learning rate", "0.0003"),
        _number("steps", "of the optimiser, at most", "400"),
        _number("batch", "pairs of populations for each", "4"),
        _number("rank", "of the LoRA", "16"),
        _number("side", "images on either side of a population", "4"),
        _number("populations", "pairs of populations for each prompt", "6"),
        _number("draws", "fixed draws of timestep and noise for each population", "8"),
        _number("look", "steps between two looks at the shares; 0 looks at the end only", "100"),
        _number("looks", "images per prompt of each", "16"),
        _number("limit", "upper limit of the deviation at which training stops", "0.08"),
    ),
    build=_build,
    plans=_plans,
    fit=fit_population_preference,
    recall=_recall,
)
