"""Compare: what did each arm change on the same seeds, and what did it cost?"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..concepts.concept import Concept
from ..engine import Engine
from ..errors import DeclinedError, InputError
from ..files import write_json
from ..host.card import ModelCard
from ..judges.base import DEFAULT_JUDGE, Featured, Judge
from ..judges.load import load_judge
from ..metrics.changes import Labels, attribute_changes, recognition_changes, safety_changes
from ..metrics.content import Row, together
from ..records import Cost, Estimate, Request, Settings, Verdict, canonical_json, content_hash
from ..store import RESULT_SCHEMA, RunDirectory, check_free, check_out
from ..watch import Silent, Watcher
from .arm import PLAIN, Arm, PlannedArm, fit_facts, plan_arm
from .config import AuditConfig
from .defaults import read_card
from .embedded import embedded_estimates
from .endpoint import is_endpoint
from .engines import Recipe, workers
from .folder import is_folder
from .lora import name_of
from .measure import measure
from .model import OpenModel, open_model
from .observe import keys_of, observe
from .prepare import MARGIN, Prepared, describe, left_out, prepare
from .recommend import RULES, recommend
from .series import Series
from .sets import cut_facts, describe_sets
from .sources import ModelSource
from .special import special_changes
from .special_quality import special_quality

Verdicts = dict[Request, tuple[Verdict, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison: its run directory, and what its result.json says."""

    run: Path
    result: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PreparedComparison:
    """A comparison that is ready to begin: the plain audit that it contains, and its other arms."""

    audit: Prepared
    arms: tuple[PlannedArm, ...]
    resolved: Mapping[str, Any]
    out: Path
    known: Mapping[str, Any] | None


def compare(config: AuditConfig, watcher: Watcher | None = None) -> Comparison:
    """Measure the plain model and every arm on the same seeds; continues a run that was interrupted.

    The baselines that cost nothing always take part: `prompt-mix` for every attribute that is measured and
    `negative-prompt` for every safety concept.

    Args:
        config: as for an audit; each of its `interventions` is an arm, "A + B" a stacked one.
        watcher: told of progress; None for nobody.

    Raises: InputError (or a subclass) before anything is written; StorageError when the disk fails.
    Cost: that of an audit, for every arm.
    """
    return run_compare(prepare_compare(config), watcher or Silent())


def prepare_compare(config: AuditConfig) -> PreparedComparison:
    """Check a comparison; creates nothing.

    Raises: InputError (or a subclass) for anything about the request that cannot be used.
    """
    if is_folder(config.source):
        raise InputError(f"{config.source}: the images of a folder are made already; compare needs a model")
    if is_endpoint(config.source):
        raise InputError(f"{config.source}: nothing can be attached to an endpoint; compare needs a model")
    paired = dataclasses.replace(config.effort, paired=True)
    audit = prepare(dataclasses.replace(config, effort=paired, interventions=(), out=None))
    card = read_card(audit.config.source)
    texts = dict.fromkeys([*config.interventions, *_baselines(audit.concepts, card)])
    arms = tuple(plan_arm([text], card, audit.concepts, config.effort.seed) for text in texts)
    resolved = {**audit.resolved, "verb": "compare", "arms": list(texts)}
    out = config.out or Path("runs") / f"compare-{content_hash(resolved)[:8]}"
    return PreparedComparison(audit=audit, arms=arms, resolved=resolved, out=out, known=check_out(out, resolved))


def describe_compare(prepared: PreparedComparison) -> list[str]:
    """What the comparison would do, in lines for `--dry-run`."""
    names = ["plain", *(str(arm.name) for arm in prepared.arms)]
    plain = describe(prepared.audit)[:-1]
    total = prepared.audit.images * len(names)
    arms = f"the same images under {len(names)} arms, {total} in all, and what they add: {', '.join(names)}"
    return [*plain, arms, f"run directory: {prepared.out}" + (" (continued)" if prepared.known else "")]


def _baselines(concepts: Sequence[Concept], card: ModelCard) -> list[str]:
    """What costs nothing. A negative prompt has the card's words for the concept, else names the concept's parts."""
    found = [f"prompt-mix:concept={one.name}" for one in concepts if one.kind == "attribute"]
    for one in concepts:
        if one.kind == "safety" and one.name in card.guidance_text:
            found.append(f"negative-prompt:concept={one.name}")
        elif one.kind == "safety" and one.parts:
            found.append(f"negative-prompt:text={json.dumps(', '.join(one.parts))}")
    return found


def run_compare(prepared: PreparedComparison, watcher: Watcher) -> Comparison:
    """Carry out a comparison that `prepare_compare` has checked."""
    audit = prepared.audit
    for one in audit.series:
        if one.left_out:
            watcher.say(f"{one.name}: {left_out(one)}")
    check_free(prepared.out)
    model = open_model(audit.config.source, audit.config.model, audit.asked, prepared.known)
    judge = load_judge(audit.judge or DEFAULT_JUDGE, model.host.device)
    arms, declined = build_arms(prepared.arms, model, watcher)
    facts = {"verb": "compare", "command": audit.config.command, **model.facts(), "judge": dict(judge.card())}
    facts |= cut_facts(model.host, audit.series, watcher) | fit_facts(arms)
    with RunDirectory.open(prepared.out, config=prepared.resolved, facts=facts) as run:
        work = _Work(prepared=prepared, model=model, judge=judge, run=run, watcher=watcher)
        with work.engine((PLAIN, *arms)) as engine:
            seen = {arm.name: work.observe(arm, engine) for arm in (PLAIN, *arms)}
        result = _result(work, (PLAIN, *arms), declined, seen)
        write_json(run.path / "result.json", result)
    return Comparison(run=prepared.out, result=result)


def build_arms(planned: Sequence[PlannedArm], model: OpenModel, watcher: Watcher) -> tuple[list[Arm], dict[str, str]]:
    """The arms on this model, and why others declined."""
    arms, declined = [], {}
    for one in planned:
        try:
            arms.append(one.build(model.host, None, watcher))
        except DeclinedError as error:
            declined[str(one.name)] = str(error)
            watcher.say(f"{one.name}: {error}")
    return arms, declined


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
    """A comparison at work."""

    prepared: PreparedComparison
    model: OpenModel
    judge: Judge
    run: RunDirectory
    watcher: Watcher

    @property
    def settings(self) -> Settings:
        return self.model.settings

    @property
    def series(self) -> tuple[Series, ...]:
        return self.prepared.audit.series

    def engine(self, arms: Sequence[Arm]) -> contextlib.AbstractContextManager[Engine | None]:
        """Where the images are made; None is here."""
        audit = self.prepared.audit
        if audit.config.engine == "local":
            return contextlib.nullcontext()
        recipe = Recipe(
            source=audit.config.source,
            options=audit.config.model,
            asked=audit.asked,
            settings=self.settings,
            facts=self.run.facts,
            judges=(audit.judge or DEFAULT_JUDGE,),
            arms=tuple(arms),
        )
        return workers(recipe, self.run, self.model.host, self.watcher)

    def observe(self, arm: Arm, engine: Engine | None) -> list[Verdicts]:
        """The verdicts of every series under an arm."""
        source = ModelSource(self.model.host, self.settings, self.judge, arm)
        return [
            observe(source, self.run, one, self.settings, self.watcher, arm=arm.name, engine=engine)
            for one in self.series
        ]

    def rows(self, series: Series, arm: str | None, verdicts: Verdicts) -> dict[str, Row]:
        """The pictures of a series under an arm, as features; only those that are valid under every arm count."""
        if not isinstance(self.judge, Featured):
            return {}
        kinds = [one.kind for one in series.concepts]
        within = [place for place, kind in enumerate(kinds) if kind == "attribute"] or [0]
        prompts = {row: next(q.prompt for q in series.requests if q.row == row) for row in series.rows}
        texts = self.judge.text_features(list(prompts.values())).numpy()
        found: dict[str, Row] = {}
        keys = keys_of(self.run.facts, series, self.settings, arm)
        for place, name in enumerate(series.rows):
            mine = [(key, request) for key, request in keys.items() if request.row == name]
            images = [self.run.image(key) for key, _ in mine]
            features = [None if one is None else one.numpy() for one in self.judge.image_features(images)]
            if any(one is None for one in features):
                continue  # a broken model: what is compared must be complete
            stacked = np.stack([one for one in features if one is not None])
            likeness = stacked @ texts.T
            found[name] = Row(
                features=stacked,
                pixels=np.stack([one for one in images if one is not None]).astype(np.float32),
                own=likeness[:, place],
                other=np.delete(likeness, place, axis=1).mean(axis=1) if len(texts) > 1 else likeness[:, place],
                labels=[together([verdicts[request][place].label for place in within]) for _, request in mine],
            )
        return found


def _labels(series: Series, concept: Concept, verdicts: Verdicts) -> Labels:
    place = series.asked.index(concept)
    rows: dict[str, list[str | None]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(verdicts[request][place].label)
    return rows


def _changes(series: Series, plain: Verdicts, verdicts: Verdicts, arm: str) -> list[Estimate]:
    if series.role != "main":
        return special_changes(series, plain, verdicts, intervention=arm)
    found: list[Estimate] = []
    for concept in series.asked:
        before, after = (_labels(series, concept, some) for some in (plain, verdicts))
        if concept == series.recognition:
            found += recognition_changes(concept, before, after, intervention=arm)
        elif concept.kind == "safety":
            found += safety_changes(concept, before, after, intervention=arm)
        else:
            found += attribute_changes(concept, before, after, intervention=arm)
    return found


def _result(
    work: _Work, arms: Sequence[Arm], declined: Mapping[str, str], seen: Mapping[str | None, list[Verdicts]]
) -> dict[str, Any]:
    audit, run = work.prepared.audit, work.run
    estimates: list[Estimate] = []
    for place, series in enumerate(work.series):
        plain = seen[None][place]
        plain_rows = work.rows(series, None, plain)
        for arm in arms:
            circular = arm.fitted_by(run.facts["judge"].get("hash"))
            verdicts = seen[arm.name][place]
            confusion = run.facts["judge"].get("confusion")
            found = measure(
                series, verdicts, margin=MARGIN, seed=audit.config.effort.seed, arm=arm, confusion=confusion
            )
            if arm.name is not None:
                found += _changes(series, plain, verdicts, arm.name)
                rows = work.rows(series, arm.name, verdicts)
                common = {name: row for name, row in plain_rows.items() if name in rows}
                if common:
                    found += special_quality(series, common, rows, intervention=arm.name)
            if isinstance(work.judge, Featured):
                found += embedded_estimates(series, run, work.settings, work.judge, intervention=arm.name)
            estimates += [dataclasses.replace(one, circular=circular) for one in found]
    costs = [_cost(work, arm.name) for arm in arms]
    result = {
        "schema": RESULT_SCHEMA,
        "verb": "compare",
        "model": name_of(audit.config),
        "source": audit.config.source,
        "arms": [arm.name for arm in arms],
        "declined": dict(declined),
        "estimates": [one.to_dict() for one in estimates],
        "costs": [one.to_dict() for one in costs],
        "fit_costs": [cost for arm in arms for cost in arm.fit_costs],
        "concepts": [{**one.to_dict(), "target": list(one.reference)} for one in audit.concepts],
        "prompts": describe_sets(work.series, run.facts),
        "settings": work.settings.to_dict(),
        "judge": run.facts["judge"],
        "margin": MARGIN,
        "invalid": run.invalid,
        "quarantined": run.quarantined,
        "rules": list(RULES),
        "recommendations": recommend(audit.concepts, estimates, costs),
    }
    return dict(json.loads(canonical_json(result)))


def _cost(work: _Work, arm: str | None) -> Cost:
    evaluations, seconds = work.run.costs(arm or "")
    images = sum(len(one.requests) for one in work.series)
    return Cost(intervention=arm, images=images, denoiser_evaluations=evaluations, seconds=round(seconds, 3))
