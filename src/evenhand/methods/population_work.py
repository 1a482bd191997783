"""What a fit of population preference does, as far as it is known before a model is loaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from evenhand.concepts.prompts import PromptRow
from evenhand.concepts.wordings import caption_of
from evenhand.errors import InputError
from evenhand.methods.fitting import Preview, Work
from evenhand.methods.population_audits import WEIGHTS, wanted_baselines
from evenhand.methods.population_sides import NAME, plan_of, settling_steps, teaches
from evenhand.methods.population_steering import EVERY, READ, check_sizes
from evenhand.training.finishing import FinishConfig
from evenhand.training.implied_shares import LEVELS
from evenhand.training.losses import LOSSES


def work_of(preview: Preview, values: Mapping[str, Any]) -> list[Work]:
    """Images, cache, training, looks, and what is asked for beside it; looks and training are the most there can be.

    What the check rejects is made again and comes on top.

    Raises:
        InputError: prompts that name the attribute, or none that the model knows.
    """
    concept = preview.setting.concept(values["concept"])
    rows = preview.rows(dataclasses.replace(concept, prompts=values["prompts"] or concept.prompts))
    plan = plan_of(concept, json.loads(values["target"]), rows, values, preview.setting.seed)
    settle, side, draws = settling_steps(concept, values), int(values["side"]), int(values["draws"])
    steps = int(values["steps"]) + settle
    per_step = int(values["batch"]) * 2 * side
    looks = 2 + -(-steps // (int(values["look"]) or steps))  # the plain model, each, and the kept adapter
    others = _other_rows(preview, concept.prompts, values)
    controls = int(values["controls"]) * (len(rows) + len(others))
    one_look = int(values["looks"]) * len(rows) + controls
    framed = sum(len({caption_of(row, number) for number in range(plan.populations)}) for row in rows)
    made = int(values["prior"]) * len(others)
    specific = concept.kind != "safety" and values["specific"] and values["prior_weight"]
    held = made + (plan.images // 2 if specific else 0)
    teach = teaches(concept, values)
    taught = plan.images // 2 if teach else 0
    again = 0 if teach and not made else 2 * held if teach else held  # what is held stands among the lessons already
    named = framed * len(plan.words)
    captions = framed + (named if taught or (specific and again) else 0) + (len(others) if made else 0)
    cached = (plan.images + taught + again) * draws
    trained = [
        Work(what=f"training, {steps} steps of {per_step} images", differentiated=steps * per_step, at_most=True)
    ]
    if held:
        trained.append(Work(what="holding them", differentiated=8 * steps, at_most=True))
    trained += _steering(values, len(rows), len(plan.words), settle, plan.populations)
    if values["refresh"]:
        times = (steps - 1) // int(values["refresh"])
        anew = times * plan.images // 2
        trained.append(Work(what=f"losers made anew, {times} times", images=anew, rows=anew * draws, at_most=True))
    found = [
        Work(what=f"populations of {len(rows)} prompts", images=plan.images),
        Work(what="cache of prompts and the reference's errors", rows=captions + cached),
        *([Work(what="images that are held", images=made)] if made else []),
        *trained,
        Work(what=f"{looks} looks of {one_look} images", images=looks * one_look + controls, at_most=True),
    ]
    names = wanted_baselines(values["against"], values["loss"], concept)
    return found + _beside(values, len(rows), controls, one_look, (looks - 2) * one_look, names, trained)


def _steering(values: Mapping[str, Any], rows: int, classes: int, settle: int, populations: int) -> list[Work]:
    """What steers a training that settles, and is taught at its end; nothing where it is off."""
    if not (settle and values["steer"] and classes > 1):
        return []
    times = -(-settle // EVERY)
    read = rows * min(READ, int(values["side"]) * populations) * len(LEVELS)
    times += bool(values["checks"])
    found = [Work(what=f"shares that are read, {times} times", rows=read * (times + classes))]
    if values["checks"]:
        sizes = check_sizes(settle, int(values["checks"]))
        what = f"images that check them, {len(sizes)} times, most in few steps but counted as whole ones"
        found.append(Work(what=what, images=sum(sizes.values()) * rows, at_most=True))
        found.append(_finishing(rows, classes))
    return found


def _finishing(rows: int, classes: int) -> Work:
    config = FinishConfig()
    taught, images = config.steps * config.each * rows, config.steps * (config.each * rows + config.held)
    what = f"what they miss is taught at last, {config.steps} steps"
    return Work(what=what, rows=images + classes * taught, differentiated=images, at_most=True)


def _beside(
    values: Mapping[str, Any],
    rows: int,
    controls: int,
    look: int,
    looks: int,
    names: tuple[str, ...],
    trained: Sequence[Work],
) -> list[Work]:
    """What is asked for beside the adapter; other losses are trained as it is, and looked at as often on the way."""
    found = []
    if values["sweep"]:
        images = len(WEIGHTS) * (int(values["sweep"]) * rows + controls)
        found.append(Work(what=f"{len(WEIGHTS)} weights of the adapter", images=images))
    for name in names:
        if name in LOSSES:
            found += [dataclasses.replace(one, what=f"against {name}, {one.what}") for one in trained]
            found.append(Work(what=f"against {name}, looks", images=looks, at_most=True))
    if names:
        found.append(Work(what=f"table of {len(names) + 2} models", images=(len(names) + 2) * look))
    return found


def _other_rows(preview: Preview, own: str | None, values: Mapping[str, Any]) -> tuple[PromptRow, ...]:
    given = values["others"]
    if given is None:
        given = "houses" if own != "houses" else "occupations"
    rows = preview.rows(dataclasses.replace(preview.setting.concept(values["concept"]), prompts=given))
    if values["prior"] and not rows:
        raise InputError(f"{NAME}: prior= holds images of other prompts, and the model knows none; name some, others=")
    return rows
