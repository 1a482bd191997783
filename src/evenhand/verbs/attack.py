"""Attack: can other words bring unsafe content back through a mitigation?

For every goal, a row of the prompt set, and every arm a search draws prompts from a small grammar, makes an image of
each, keeps those that a judge finds most unsafe, and varies them. What it finds is then measured on seeds of its own,
by the report judge, beside the goal's own prompts from the same seeds. A search that fails proves little: a stronger
one may succeed, so its success is a lower limit.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import skewville
from ..concepts.allocation import image_seed
from ..concepts.attack_words import AttackWords, attack_words, variants
from ..concepts.concept import Concept
from ..errors import InputError
from ..files import write_json
from ..host.host import Host
from ..judges.base import DEFAULT_JUDGE, Judge
from ..judges.load import load_judge
from ..metrics.attacks import attack_estimates
from ..metrics.changes import Labels, rate_changes
from ..records import Cost, Estimate, Request, Settings, Verdict, canonical_json, content_hash
from ..store import RESULT_SCHEMA, RunDirectory, check_free, check_out
from ..watch import Silent, Watcher
from .arm import PLAIN, Arm, fit_facts
from .compare import PreparedComparison, build_arms, prepare_compare
from .config import AttackConfig
from .defaults import model_path, read_card
from .lora import name_of, split_lora
from .measure import measure
from .model import OpenModel, open_model
from .observe import observe
from .prepare import MARGIN, describe
from .series import Series
from .sets import cut_facts, describe_sets
from .sources import ModelSource

ROLE = "attack"
"""Seeds of the search; what it finds is measured on those of reports."""
FOUND = "found prompts"
KEPT = 4
"""Prompts that a round hands on to the next, to be tried again and varied."""

Verdicts = Mapping[Request, tuple[Verdict, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attacked:
    """A finished attack: its run directory, and what its result.json says."""

    run: Path
    result: Mapping[str, Any]


def attack(config: AttackConfig, watcher: Watcher | None = None) -> Attacked:
    """Search for prompts that bring unsafe content back, under every arm; continues where it was interrupted.

    Args:
        config: model, concept, arms and the effort of the search.
        watcher: told of progress; None for nobody.

    Raises: InputError (or a subclass) before anything is written; StorageError when the disk fails.
    Cost: for every arm and goal tries x rounds images of the search, and two times the images per goal.
    """
    return run_attack(config, prepare_attack(config), watcher or Silent())


def prepare_attack(config: AttackConfig) -> PreparedComparison:
    """Check an attack; creates nothing.

    Raises: InputError (or a subclass) for anything about the request that cannot be used.
    """
    prepared = prepare_compare(dataclasses.replace(config.audit, out=None))
    (series, *others) = prepared.audit.series
    if others or len(series.concepts) != 1 or series.concepts[0].kind != "safety":
        raise InputError("attack measures one safety concept: give --concept unsafe, or another one of kind safety")
    if not attack_words(series.concepts[0], explicit=config.explicit).tails:
        raise InputError(
            f"concept {series.concepts[0].name} names no parts and no look-alikes, so the attack has no words: "
            "add `parts` and `look_alikes` to its file"
        )
    search = {"tries": config.tries, "rounds": config.rounds, "explicit": config.explicit}
    resolved = json.loads(canonical_json({**prepared.resolved, "verb": "attack", "search": search}))
    out = config.audit.out or Path("runs") / f"attack-{content_hash(resolved)[:8]}"
    return dataclasses.replace(prepared, resolved=resolved, out=out, known=check_out(out, resolved))


def describe_attack(config: AttackConfig, prepared: PreparedComparison) -> list[str]:
    """What the attack would do, in lines for `--dry-run`."""
    goals = len(prepared.audit.series[0].rows)
    names = ["plain", *(str(arm.name) for arm in prepared.arms)]
    tried = goals * config.tries * config.rounds
    return [
        *describe(prepared.audit)[:1],
        f"search: {goals} goals x {config.tries} prompts x {config.rounds} rounds = {tried} images under each arm",
        f"then the same number of images of what was found; {len(names)} arms: {', '.join(names)}",
        f"run directory: {prepared.out}" + (" (continued)" if prepared.known else ""),
    ]


def run_attack(config: AttackConfig, prepared: PreparedComparison, watcher: Watcher) -> Attacked:
    """Carry out an attack that `prepare_attack` has checked."""
    audit = prepared.audit
    check_free(prepared.out)
    model = open_model(audit.config.source, audit.config.model, audit.asked, prepared.known)
    judge = load_judge(audit.judge or DEFAULT_JUDGE, model.host.device)
    searcher = _search_judge(audit.config.source, model.host, judge, audit.series[0].concepts[0])
    arms, declined = build_arms(prepared.arms, model, watcher)
    facts = {"verb": "attack", "command": audit.config.command, **model.facts(), "judge": dict(judge.card())}
    facts |= {"search_judge": {"name": searcher.name, "hash": searcher.hash}}
    facts |= cut_facts(model.host, audit.series, watcher) | fit_facts(arms)
    with RunDirectory.open(prepared.out, config=prepared.resolved, facts=facts) as run:
        work = _Work(config=config, series=audit.series[0], model=model, judge=judge, searcher=searcher, run=run)
        done = [work.attacked(arm, watcher) for arm in (PLAIN, *arms)]
        result = _result(work, prepared, (PLAIN, *arms), declined, done)
        write_json(run.path / "result.json", result)
    return Attacked(run=prepared.out, result=result)


def _search_judge(source: str, host: Host, judge: Judge, concept: Concept) -> Judge:
    """The model's fit judge where it has one that knows the concept: no figure is then of the judge that searched."""
    name = read_card(source).fit_judge
    other = judge if name is None else load_judge(name, host.device)
    return other if other.knows(concept) else judge


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Found:
    """What the search came to under an arm."""

    prompts: Mapping[str, str]
    scores: Mapping[str, float]
    tried: int
    estimates: list[Estimate]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Work:
    """An attack at work."""

    config: AttackConfig
    series: Series
    model: OpenModel
    judge: Judge
    searcher: Judge
    run: RunDirectory

    @property
    def source(self) -> str:
        return split_lora(self.config.audit.source)[0]

    @property
    def settings(self) -> Settings:
        return self.model.settings

    @property
    def concept(self) -> Concept:
        return self.series.concepts[0]

    def attacked(self, arm: Arm, watcher: Watcher) -> _Found:
        """Search under an arm, then measure what was found beside the goals' own prompts."""
        totals = self._search(arm, watcher)
        scores = {goal: {text: sum(p) / (len(p) + 1) for text, p in some.items()} for goal, some in totals.items()}
        best = {goal: max(some, key=lambda text, of=some: (of[text], text)) for goal, some in scores.items()}
        source = ModelSource(self.model.host, self.settings, self.judge, arm)
        direct = observe(source, self.run, self.series, self.settings, watcher, arm=arm.name)
        requests = tuple(dataclasses.replace(one, prompt=best[one.row]) for one in self.series.requests)
        found = dataclasses.replace(self.series, name=FOUND, requests=requests, part=ROLE)
        verdicts = observe(source, self.run, found, self.settings, watcher, arm=arm.name)
        circular = self.searcher.hash == self.judge.hash or arm.fitted_by(self.judge.hash)
        estimates = self._estimates(arm, direct, verdicts, found)
        return _Found(
            prompts=best,
            scores={goal: scores[goal][text] for goal, text in best.items()},
            tried=sum(len(p) for some in totals.values() for p in some.values()),
            estimates=[dataclasses.replace(one, circular=circular) for one in estimates],
        )

    def _search(self, arm: Arm, watcher: Watcher) -> dict[str, dict[str, list[float]]]:
        """Per goal and prompt how unsafe each of its images was, to the search judge."""
        source = ModelSource(self.model.host, self.settings, self.searcher, arm)
        words, seed = self._words(), self.config.audit.effort.seed
        own = {row: next(one.prompt for one in self.series.requests if one.row == row) for row in self.series.rows}
        totals: dict[str, dict[str, list[float]]] = {row: {} for row in self.series.rows}
        for turn in range(self.config.rounds):
            requests = []
            for row in self.series.rows:
                rng = random.Random(f"{seed} {arm.name} {row} {turn}")
                texts = self._candidates(own[row], totals[row], words, rng)
                requests += [
                    Request(row=row, prompt=text, index=k, seed=image_seed(seed, ROLE, f"{row} {turn}", k))
                    for k, text in enumerate(texts)
                ]
            name = f"search, round {turn + 1}"
            part = Series(
                name=name, rows=self.series.rows, concepts=(self.concept,), requests=tuple(requests), part="search"
            )
            for request, some in observe(source, self.run, part, self.settings, watcher, arm=arm.name).items():
                totals[request.row].setdefault(request.prompt, []).append(_unsafe(some[0], self.concept))
        return totals

    def _words(self) -> AttackWords:
        return attack_words(self.concept, _more_words(self.source, self.concept), explicit=self.config.explicit)

    def _candidates(
        self, own: str, seen: Mapping[str, Sequence[float]], words: AttackWords, rng: random.Random
    ) -> list[str]:
        """First draws; later the best so far once more, and draws around them."""
        ranked = sorted(seen, key=lambda text: -sum(seen[text]) / (len(seen[text]) + 1))[:KEPT]
        if not ranked:
            return [own, *variants(own, words, self.config.tries - 1, rng)]
        left = max(0, self.config.tries - len(ranked))
        some = [text for one in ranked for text in variants(one, words, -(-left // len(ranked)), rng)]
        return [*ranked, *some][: self.config.tries]

    def _estimates(self, arm: Arm, direct: Verdicts, verdicts: Verdicts, found: Series) -> list[Estimate]:
        estimates = measure(self.series, direct, margin=MARGIN, seed=self.config.audit.effort.seed, arm=arm)
        before, after = _labels(self.series, direct, 0), _labels(found, verdicts, 0)
        shown = None if found.recognition is None else _labels(found, verdicts, len(found.concepts))
        name = str(self.concept.unsafe_class)
        estimates += attack_estimates(self.concept.name, name, after, shown, intervention=arm.name)
        base = Estimate(
            metric="attack_gain", concept=self.concept.name, intervention=arm.name, kind="change", allocation=None
        )
        return estimates + rate_changes(base, before, after, name)


def _more_words(source: str, concept: Concept) -> list[str]:
    """The phrases by which Skewville's captions name the concept's parts; for other models none."""
    if model_path(source) != str(skewville.MODEL_DIRECTORY):
        return []
    from ..skewville.captions import load_grammar

    items = load_grammar().words["items"]
    names = [part.removeprefix("a ").replace(" ", "_") for part in concept.parts]
    return [phrase for name in names if name in items for phrase in items[name]["after"]]


def _unsafe(verdict: Verdict, concept: Concept) -> float:
    """How unsafe an image is to the judge, 0 where it abstains."""
    if verdict.label is None:
        return 0.0
    name = str(concept.unsafe_class)
    place = concept.class_names.index(name)
    return verdict.probabilities[place] if verdict.probabilities else float(verdict.label == name)


def _labels(series: Series, verdicts: Verdicts, place: int) -> Labels:
    rows: dict[str, list[str | None]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(verdicts[request][place].label)
    return rows


def _result(
    work: _Work, prepared: PreparedComparison, arms: Sequence[Arm], declined: Mapping[str, str], done: Sequence[_Found]
) -> dict[str, Any]:
    run, config = work.run, work.config
    sets = (work.series, dataclasses.replace(work.series, name=FOUND, part=ROLE))
    searched = [
        {"name": f"search, round {turn + 1}", "rows": work.series.rows, "left_out": [], "role": "search"}
        for turn in range(config.rounds)
    ]
    result = {
        "schema": RESULT_SCHEMA,
        "verb": "attack",
        "model": name_of(prepared.audit.config),
        "source": prepared.audit.config.source,
        "arms": [arm.name for arm in arms],
        "declined": dict(declined),
        "estimates": [one.to_dict() for found in done for one in found.estimates],
        "attacks": [
            {"intervention": arm.name, "goal": goal, "prompt": text, "score": round(found.scores[goal], 6)}
            for arm, found in zip(arms, done, strict=True)
            for goal, text in found.prompts.items()
        ],
        "search": {"tries": config.tries, "rounds": config.rounds, "explicit": config.explicit,
                   "judge": run.facts["search_judge"]},
        "costs": [_cost(work, arm, found).to_dict() for arm, found in zip(arms, done, strict=True)],
        "fit_costs": [cost for arm in arms for cost in arm.fit_costs],
        "concepts": [{**work.concept.to_dict(), "target": list(work.concept.reference)}],
        "prompts": [*describe_sets(sets, run.facts), *searched],
        "settings": work.settings.to_dict(),
        "judge": run.facts["judge"],
        "margin": MARGIN,
        "invalid": run.invalid,
    }  # fmt: skip
    return dict(json.loads(canonical_json(result)))


def _cost(work: _Work, arm: Arm, found: _Found) -> Cost:
    evaluations, seconds = work.run.costs(arm.name or "")
    images = found.tried + 2 * len(work.series.requests)
    return Cost(intervention=arm.name, images=images, denoiser_evaluations=evaluations, seconds=round(seconds, 3))
