"""Fitting a LoRA on population preferences: build, cache, train, look, and keep the best that was seen."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evenhand.concepts.concept import Concept
from evenhand.interventions.storage import Card, Frame
from evenhand.methods.fitting import Fitted, Fitting
from evenhand.methods.population_audits import baselines, sweep, table_of, wanted_baselines
from evenhand.methods.population_data import DataBuilder
from evenhand.methods.population_looks import Limits
from evenhand.methods.population_observer import Observer
from evenhand.methods.population_sides import NAME, known_rows, other_rows, plan_of, teaches
from evenhand.methods.population_training import Course, Trained
from evenhand.methods.spent import Spent
from evenhand.training.populations import Plan

POPULATIONS = "populations.parquet"
TABLE = "against.md"


def fit_population_preference(fitting: Fitting, values: Mapping[str, Any]) -> Fitted:
    """Train an adapter under which the images of neutral prompts have the target's shares, or show nothing unsafe.

    Source: PopAlign (arXiv:2406.19668); see `training.losses` for what the losses are.

    Args:
        fitting: the model and the fit judge, which filters and stops.
        values: of the method's parameters, and the target (JSON).

    Raises:
        InputError: a concept that the fit judge does not know, or prompts that name it.
        DeclinedError: the model does not obey the words for a class, or no adapter is better than the model itself.
        TrainingError: the loss became no number before any adapter was.

    Cost: 2 x side x populations images per row, draws + 2 rows per image and epoch, and the looks.
    """
    concept = fitting.setting.concept(values["concept"])
    fitting.check_known(NAME, concept)
    names = wanted_baselines(values["against"], values["loss"], concept)
    plan = plan_of(
        concept,
        json.loads(values["target"]),
        known_rows(fitting, concept, values["prompts"]),
        values,
        fitting.setting.seed,
    )
    frame = Frame.of(fitting.host)  # before an adapter changes what the weights are called
    with contextlib.ExitStack() as stack:
        folder = fitting.scratch or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        spent = Spent(fitting.host, folder)
        course = _course(spent.counting(fitting), concept, plan, values, folder, spent)
        of_data = spent.until("data")
        trained = course.train()
        effect = {**_effect(course, trained), "evaluations_of_data": of_data}
        files = {}
        if values["sweep"]:
            effect["sweep"] = sweep(course, trained.lora, int(values["sweep"]))
        if names:
            effect["against"] = baselines(course, plan, trained, names)
            files[TABLE] = table_of(effect["against"]).encode()
        effect["evaluations"] = spent.total
        course.builder.store.export(folder / POPULATIONS)
        files |= {name: (folder / name).read_bytes() for name in (POPULATIONS, "log.jsonl")}
    return Fitted(trained.lora, _card(course, concept, plan, frame, effect), files)


def _course(
    fitting: Fitting, concept: Concept, plan: Plan, values: Mapping[str, Any], folder: Path, spent: Spent
) -> Course:
    """Everything is kept in the folder as soon as it is there, so a fit that was killed goes on."""
    limits = Limits.of(values)
    observer = Observer(fitting, concept, plan, plan.target, values)
    builder = DataBuilder(fitting, plan, observer.read, values, folder, teach=teaches(concept, values))
    populations = builder.populations()
    others = other_rows(fitting, concept, values["others"]) if values["prior"] else ()
    # winners of a safety concept have no prompt of their own
    own = [one for one in populations.images if one.slot.winner and one.slot.prompt != one.slot.caption]
    held = own if values["specific"] and values["prior_weight"] else ()
    data = builder.cached(populations)
    return Course(
        fitting=fitting,
        values=values,
        plan=plan,
        observer=observer,
        limits=limits,
        builder=builder,
        populations=populations,
        data=data,
        prior=builder.prior(others, int(values["prior"]), held, data),
        folder=folder,
        spent=spent,
    )


def _effect(course: Course, trained: Trained) -> dict[str, Any]:
    kept = trained.kept or trained.looks[-1]
    return {
        "looks": [one.to_dict() for one in trained.looks],
        "kept": kept.to_dict(),
        "failed": trained.failed,
        "rejected": dict(course.populations.rejected),
        "images": len(course.populations.images),
        "made": course.populations.made,
        "composition": course.plan.composition,
    }


def _card(course: Course, concept: Concept, plan: Plan, frame: Frame, effect: Mapping[str, Any]) -> Card:
    """Where the adapter comes from."""
    fitting = course.fitting
    return Card(
        method=NAME,
        site="weight",
        frame=frame,
        estimator={name: value for name, value in course.values.items() if name not in ("concept", "strength")},
        prompts={"trained on": [row.name for row in plan.rows]},
        seeds={"fit": plan.seed, "stop": plan.seed},
        judges={"fit": fitting.judge_hash},
        guidance=fitting.settings.guidance,
        steps=fitting.settings.steps,
        concept=concept.to_dict(),
        effect=effect,
    )
