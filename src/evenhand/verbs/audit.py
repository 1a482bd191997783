"""Audit: how biased, or how unsafe, is what a model shows?"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..engine import Engine, Local, Source
from ..files import write_json
from ..judges.base import DEFAULT_JUDGE, Featured, Judge
from ..judges.load import load_judge
from ..judges.panel import PanelJudge
from ..records import Cost, Estimate, Request, Settings, Verdict
from ..store import RESULT_SCHEMA, RunDirectory, check_free
from ..watch import Silent, Watcher
from .arm import PLAIN, Arm, fit_facts
from .config import AuditConfig, Effort
from .embedded import embedded_estimates
from .endpoint import is_endpoint
from .endpoint_source import EndpointSource, of_endpoint, refusal_estimates
from .engines import Recipe, workers
from .folder import FolderSource
from .labels import calibrated_estimates, label_facts, read_sheet
from .lora import name_of
from .measure import measure
from .model import open_model
from .observe import keys_of, observe
from .panel import agreement_estimates, panel_facts
from .prepare import MARGIN, Prepared, left_out, prepare
from .registration import announced, registration
from .sequential import Rule, any_time_estimates, check_allocation, discoveries, observe_until
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    """A source that is open: the facts of run.json, and the interventions on it."""

    source: Source
    settings: Settings
    facts: Mapping[str, Any]
    arm: Arm = PLAIN


def run_audit(prepared: Prepared, watcher: Watcher, opened: Opened | None = None) -> Audit:
    """Carry out an audit that `prepare` has checked.

    Args:
        prepared: what to do.
        watcher: told of progress.
        opened: its source, where that is open already; None opens it.
    """
    for one in prepared.series:
        if one.left_out:
            watcher.say(f"{one.name}: {left_out(one)}")
    differs = announced(prepared)
    if differs:
        watcher.say(f"exploratory, not pre-registered: {differs}")
    check_free(prepared.out)
    opened = opened or open_source(prepared, watcher)
    source, settings, arm = opened.source, opened.settings, opened.arm
    if prepared.config.effort.stops:
        check_allocation(arm)
    facts = {"verb": "audit", "command": prepared.config.command, **opened.facts}
    with RunDirectory.open(prepared.out, config=prepared.resolved, facts=facts) as run:
        if isinstance(source, EndpointSource):
            source.booked(run)
        with _engine(prepared, opened, run, watcher) as engine:
            made = [_observed(prepared, one, opened, run, watcher, engine) for one in prepared.series]
        beside = [one for series, _ in made for one in _embedded(series, source, run, settings, arm)]
        result = _result(prepared, run, settings, made, arm, beside)
        if is_endpoint(prepared.config.source):
            result |= of_endpoint(prepared.config, prepared.asked, run)
        write_json(run.path / "result.json", result)
    if result["invalid"]:
        watcher.say(
            f"{result['invalid']} of {prepared.images} images are not numbers (NaN or infinity): "
            "the model made none; they are counted as abstentions"
        )
    return Audit(run=prepared.out, result=result)


_Made = tuple[Series, dict[Request, tuple[Verdict, ...]]]
"""A series with the images that were made, and their verdicts."""


def _engine(
    prepared: Prepared, opened: Opened, run: RunDirectory, watcher: Watcher
) -> contextlib.AbstractContextManager[Engine]:
    """Where the images are made."""
    source, config = opened.source, prepared.config
    if config.engine == "local" or not isinstance(source, ModelSource):
        return contextlib.nullcontext(Local(source, each=isinstance(source, EndpointSource)))
    recipe = Recipe(
        source=config.source,
        options=config.model,
        asked=prepared.asked,
        settings=opened.settings,
        facts=run.facts,
        judges=_judge_names(prepared),
        arms=(opened.arm,),
    )
    return workers(recipe, run, source.host, watcher)


def _observed(
    prepared: Prepared, series: Series, opened: Opened, run: RunDirectory, watcher: Watcher, engine: Engine
) -> _Made:
    effort, source, settings, arm = prepared.config.effort, opened.source, opened.settings, opened.arm.name
    if effort.stops:
        rule = Rule(margin=MARGIN, precision=effort.half_width)
        return observe_until(rule, source, run, series, settings, watcher, arm=arm, engine=engine)
    return series, observe(source, run, series, settings, watcher, arm=arm, engine=engine)


def _embedded(series: Series, source: Source, run: RunDirectory, settings: Settings, arm: Arm) -> list[Estimate]:
    """What associations say in the space of a judge that has one."""
    if not isinstance(source, ModelSource) or not isinstance(source.looker, Featured):
        return []
    return embedded_estimates(series, run, settings, source.looker, intervention=arm.name)


def open_source(prepared: Prepared, watcher: Watcher) -> Opened:
    """The source, the settings, what run.json keeps of them, and the interventions on this model."""
    config = prepared.config
    if prepared.items:
        judge = None if prepared.judge is None else _load(prepared)
        facts = {"model": None, "batch_size": 64, "dtype": None, "threads": None, "device": None}
        source = FolderSource(Path(config.source), prepared.items, judge)
        return Opened(source=source, settings=Settings(), facts={**facts, "judge": _card(judge)})
    if is_endpoint(config.source):
        endpoint = EndpointSource(config, prepared.asked, _load(prepared))
        facts = {**endpoint.facts(), "judge": endpoint.card()}
        return Opened(source=endpoint, settings=Settings(), facts=facts)
    # The model before the judge: when both are wrong, the user hears of what was typed.
    model = open_model(config.source, config.model, prepared.asked, prepared.known)
    judge = _load(prepared, model.host.device)
    arm = prepared.arm.build(model.host, None, watcher)
    source = ModelSource(model.host, model.settings, judge, arm)
    facts = {**model.facts(), "judge": _card(judge), **cut_facts(model.host, prepared.series, watcher)}
    facts |= fit_facts([arm])
    return Opened(source=source, settings=model.settings, facts=facts, arm=arm)


def _load(prepared: Prepared, device: torch.device | str = "cpu") -> Judge:
    judges = [load_judge(name, device) for name in _judge_names(prepared)]
    return judges[0] if len(judges) == 1 else PanelJudge(judges)


def _judge_names(prepared: Prepared) -> tuple[str, ...]:
    return (prepared.judge or DEFAULT_JUDGE, *prepared.config.panel)


def _hashes(card: Mapping[str, Any]) -> list[str]:
    """Of the judge, and of the members of a panel."""
    return [str(one["hash"]) for one in (card, *card.get("members", ())) if "hash" in one]


def _card(judge: Judge | None) -> dict[str, Any]:
    return {"name": "labels of the manifest"} if judge is None else dict(judge.card())


def _files(run: RunDirectory, made: list[_Made], settings: Settings, arm: Arm) -> dict[Request, str]:
    """Where the image of each request lies in the run; those that are no image have none."""
    found = {}
    for one, _ in made:
        for key, request in keys_of(run.facts, one, settings, arm.name).items():
            file = run.file(key)
            if file is not None:
                found[request] = file
    return found


def _stopped(effort: Effort) -> str | None:
    if not effort.stops:
        return None
    if effort.any_time:
        return "when somebody who watched said so"
    return "until decided" if effort.precision is None else f"at a precision of {effort.precision:g}"


def _result(
    prepared: Prepared,
    run: RunDirectory,
    settings: Settings,
    made: list[_Made],
    arm: Arm,
    beside: list[Estimate],
) -> dict[str, Any]:
    config = prepared.config
    circular = any(arm.fitted_by(one) for one in _hashes(run.facts["judge"]))
    estimates: list[Estimate] = [dataclasses.replace(one, circular=circular) for one in beside]
    sheet = None if config.labels is None else read_sheet(config.labels, prepared.concepts)
    files = {} if sheet is None else _files(run, made, settings, arm)
    labels = None if sheet is None else label_facts(sheet, made, files)
    sequential = config.effort.stops
    for one, some in made:
        confusion = run.facts["judge"].get("confusion")
        found = measure(one, some, margin=MARGIN, seed=config.effort.seed, arm=arm, confusion=confusion)
        found = any_time_estimates(found, one, Rule(MARGIN, config.effort.half_width)) if sequential else found
        estimates += [dataclasses.replace(estimate, circular=circular) for estimate in found]
        if is_endpoint(config.source):
            estimates += refusal_estimates(one, some)
        if config.panel:
            estimates += agreement_estimates(one, some, seed=config.effort.seed, arm=arm.name)
        if sheet is not None:
            estimates += calibrated_estimates(sheet, one, some, files, arm=arm.name)
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
        "model": name_of(config),
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
        "stopped": _stopped(config.effort),
        **(
            {"panel": panel_facts([one["name"] for one in run.facts["judge"]["members"]], made)} if config.panel else {}
        ),
        **({"labels": labels} if labels is not None else {}),
        "registration": registration(prepared, run.facts),
        **({"discoveries": discoveries(estimates, prepared.concepts, MARGIN)} if sequential else {}),
        "invalid": run.invalid,
        "quarantined": run.quarantined,
    }
