"""Audit: how biased, or how unsafe, is what a model shows?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_json
from ..judges.base import DEFAULT_JUDGE, Featured, Judge
from ..judges.load import load_judge
from ..records import Cost, Estimate, Request, Settings, Verdict
from ..store import RESULT_SCHEMA, RunDirectory
from ..watch import Silent, Watcher
from .arm import PLAIN, Arm
from .config import AuditConfig
from .embedded import embedded_estimates
from .folder import FolderSource
from .measure import measure
from .model import open_model
from .observe import Source, observe
from .prepare import MARGIN, Prepared, left_out, prepare
from .sequential import any_time_estimates, check_allocation, observe_until_decided
from .series import Series
from .sets import cut_facts, describe_sets
from .sources import ModelSource


@dataclasses.dataclass(frozen=True, kw_only=True)
class Audit:
    """A finished audit: its run directory, and what its result.json says."""

    run: Path
    result: Mapping[str, Any]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """The estimates as records."""
        return tuple(Estimate.from_dict(data) for data in self.result["estimates"])


def audit(config: AuditConfig, watcher: Watcher | None = None) -> Audit:
    """Measure a model or a folder of images; continues a run that was interrupted.

    Args:
        config: what is measured.
        watcher: told of progress; None for nobody.

    Raises: InputError (or a subclass) before anything is written; StorageError when the disk fails, after which the
        same call continues.
    Cost: steps x (2 with guidance, else 1) denoiser evaluations per image that is not committed yet.
    """
    return run_audit(prepare(config), watcher or Silent())


def run_audit(prepared: Prepared, watcher: Watcher) -> Audit:
    """Carry out an audit that `prepare` has checked."""
    for one in prepared.series:
        if one.left_out:
            watcher.say(f"{one.name}: {left_out(one)}")
    source, settings, facts, arm = _open(prepared, watcher)
    if prepared.config.effort.until_decided:
        check_allocation(arm)
    facts = {"verb": "audit", "command": prepared.config.command, **facts}
    with RunDirectory.open(prepared.out, config=prepared.resolved, facts=facts) as run:
        made = [_observed(prepared, one, source, run, settings, watcher, arm) for one in prepared.series]
        beside = _embedded(prepared, source, run, settings, arm)
        result = _result(prepared, run, settings, made, arm, beside)
        write_json(run.path / "result.json", result)
    if result["invalid"]:
        watcher.say(
            f"{result['invalid']} of {prepared.images} images are not numbers (NaN or infinity): "
            "the model made none; they are counted as abstentions"
        )
    return Audit(run=prepared.out, result=result)


_Made = tuple[Series, dict[Request, tuple[Verdict, ...]]]
"""A series with the images that were made, and their verdicts."""


def _observed(
    prepared: Prepared,
    series: Series,
    source: Source,
    run: RunDirectory,
    settings: Settings,
    watcher: Watcher,
    arm: Arm,
) -> _Made:
    if prepared.config.effort.until_decided:
        return observe_until_decided(source, run, series, settings, watcher, margin=MARGIN, arm=arm.name)
    return series, observe(source, run, series, settings, watcher, arm=arm.name)


def _embedded(prepared: Prepared, source: Source, run: RunDirectory, settings: Settings, arm: Arm) -> list[Estimate]:
    """What associations say in the space of a judge that has one."""
    if not isinstance(source, ModelSource) or not isinstance(source.looker, Featured):
        return []
    return [
        estimate
        for one in prepared.series
        for estimate in embedded_estimates(one, run, settings, source.looker, intervention=arm.name)
    ]


def _open(prepared: Prepared, watcher: Watcher) -> tuple[Source, Settings, dict[str, Any], Arm]:
    """The source, the settings, what run.json keeps of them, and the interventions on this model."""
    config = prepared.config
    if prepared.items:
        judge = None if prepared.judge is None else load_judge(prepared.judge)
        facts = {"model": None, "batch_size": 64, "dtype": None, "threads": None, "device": None}
        source = FolderSource(Path(config.source), prepared.items, judge)
        return source, Settings(), {**facts, "judge": _card(judge)}, PLAIN
    # The model before the judge: when both are wrong, the user hears of what was typed.
    model = open_model(config.source, config.model, prepared.asked, prepared.known)
    judge = load_judge(prepared.judge or DEFAULT_JUDGE)
    arm = prepared.arm.build(model.host, None, watcher)
    source = ModelSource(model.host, model.settings, judge, arm)
    facts = {**model.facts(), "judge": _card(judge), **cut_facts(model.host, prepared.series, watcher)}
    return source, model.settings, facts, arm


def _card(judge: Judge | None) -> dict[str, Any]:
    return {"name": "labels of the manifest"} if judge is None else dict(judge.card())


def _result(
    prepared: Prepared,
    run: RunDirectory,
    settings: Settings,
    made: list[_Made],
    arm: Arm,
    beside: list[Estimate],
) -> dict[str, Any]:
    config = prepared.config
    circular = arm.fitted_by(run.facts["judge"].get("hash"))
    estimates: list[Estimate] = [dataclasses.replace(one, circular=circular) for one in beside]
    sequential = config.effort.until_decided
    for one, some in made:
        confusion = run.facts["judge"].get("confusion")
        found = measure(one, some, margin=MARGIN, seed=config.effort.seed, arm=arm, confusion=confusion)
        found = any_time_estimates(found, one, MARGIN) if sequential else found
        estimates += [dataclasses.replace(estimate, circular=circular) for estimate in found]
    evaluations, seconds = run.costs()
    cost = Cost(
        intervention=arm.name,
        images=sum(len(one.requests) for one, _ in made),
        denoiser_evaluations=evaluations,
        seconds=round(seconds, 3),
    )
    return {
        "schema": RESULT_SCHEMA,
        "verb": "audit",
        "model": config.source,
        "source": config.source,
        "arms": [arm.name],
        "estimates": [estimate.to_dict() for estimate in estimates],
        "costs": [cost.to_dict()],
        "fit_costs": list(arm.fit_costs),
        "concepts": [{**concept.to_dict(), "target": list(concept.reference)} for concept in prepared.concepts],
        "prompts": describe_sets(prepared.series, run.facts),
        "settings": None if prepared.items else settings.to_dict(),
        "judge": run.facts["judge"],
        "margin": MARGIN,
        "stopped": "until decided" if sequential else None,
        "invalid": sum(not line["valid"] for line in run.done().values()),
    }
