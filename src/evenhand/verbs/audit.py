"""Audit: how biased, or how unsafe, is what a model shows?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import write_json
from ..judges.base import DEFAULT_JUDGE, Judge
from ..judges.load import load_judge
from ..records import Cost, Estimate, Request, Settings, Verdict
from ..store import RESULT_SCHEMA, RunDirectory
from .config import AuditConfig
from .folder import FolderSource
from .measure import measure
from .model import open_model
from .observe import Source, observe
from .prepare import MARGIN, Prepared, left_out, prepare
from .sources import ModelSource
from .watch import Silent, Watcher


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
    source, settings, facts = _open(prepared)
    facts = {"verb": "audit", "command": prepared.config.command, **facts}
    with RunDirectory.open(prepared.out, config=prepared.resolved, facts=facts) as run:
        arm = prepared.arm.name
        verdicts = [observe(source, run, one, settings, watcher, arm=arm) for one in prepared.series]
        result = _result(prepared, run, settings, verdicts)
        write_json(run.path / "result.json", result)
    if result["invalid"]:
        watcher.say(
            f"{result['invalid']} of {prepared.images} images are not numbers (NaN or infinity): "
            "the model made none; they are counted as abstentions"
        )
    return Audit(run=prepared.out, result=result)


def _open(prepared: Prepared) -> tuple[Source, Settings, dict[str, Any]]:
    """The source, the settings, and what run.json keeps of them."""
    config = prepared.config
    if prepared.items:
        judge = None if prepared.judge is None else load_judge(prepared.judge)
        facts = {"model": None, "batch_size": 64, "dtype": None, "threads": None, "device": None}
        source = FolderSource(Path(config.source), prepared.items, judge)
        return source, Settings(), {**facts, "judge": _card(judge)}
    # The model before the judge: when both are wrong, the user hears of what was typed.
    model = open_model(config.source, config.model, prepared.asked, prepared.known)
    prepared.arm.check(model.host)
    judge = load_judge(prepared.judge or DEFAULT_JUDGE)
    return (
        ModelSource(model.host, model.settings, judge, prepared.arm),
        model.settings,
        {**model.facts(), "judge": _card(judge)},
    )


def _card(judge: Judge | None) -> dict[str, Any]:
    return {"name": "labels of the manifest"} if judge is None else dict(judge.card())


def _result(
    prepared: Prepared, run: RunDirectory, settings: Settings, verdicts: list[dict[Request, tuple[Verdict, ...]]]
) -> dict[str, Any]:
    config = prepared.config
    estimates: list[Estimate] = []
    for one, some in zip(prepared.series, verdicts, strict=True):
        estimates += measure(one, some, margin=MARGIN, seed=config.effort.seed, arm=prepared.arm.name)
    evaluations, seconds = run.costs()
    cost = Cost(
        intervention=prepared.arm.name,
        images=prepared.images,
        denoiser_evaluations=evaluations,
        seconds=round(seconds, 3),
    )
    return {
        "schema": RESULT_SCHEMA,
        "verb": "audit",
        "model": config.source,
        "source": config.source,
        "arms": [prepared.arm.name],
        "estimates": [estimate.to_dict() for estimate in estimates],
        "costs": [cost.to_dict()],
        "fit_costs": [],
        "concepts": [{**concept.to_dict(), "target": list(concept.reference)} for concept in prepared.concepts],
        "prompts": [{"name": one.name, "rows": one.rows, "left_out": one.left_out} for one in prepared.series],
        "settings": None if prepared.items else settings.to_dict(),
        "judge": run.facts["judge"],
        "margin": MARGIN,
        "invalid": sum(not line["valid"] for line in run.done().values()),
    }
