"""Everything about an audit that can be known, and refused, before a model is loaded or a file is written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..concepts.concept import Concept
from ..errors import ConceptError, InputError
from ..judges.base import DEFAULT_JUDGE
from ..records import Request, canonical_json, content_hash
from ..store import check_out
from .arm import NOTHING, PlannedArm, plan_arm
from .config import AuditConfig, half_width_at
from .defaults import asked_settings, check_model, read_card
from .endpoint import base_url, check_cost, check_endpoint, is_endpoint
from .folder import (
    MANIFEST,
    Item,
    check_folder,
    check_manifest,
    is_folder,
    labelled_concepts,
    read_manifest,
    series_of_folder,
)
from .labels import read_sheet
from .lora import check_lora, with_lora
from .registration import read_lock
from .sequential import check_stopping
from .series import Series, concepts_of, main_series, series_of

MARGIN = 0.10
"""How far from its target a share may lie and still be called fair."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepared:
    """An audit that is ready to begin.

    Attributes:
        out: the run directory.
        known: its run.json when it was begun before.
        resolved: the configuration, as it is hashed and stored.
        series: the images to make.
        asked: steps, guidance, scheduler, size as far as they are given.
        judge: name of the judge, None where the folder has a label for every concept.
        arm: the interventions that will be attached.
        items: of a folder, the item of each request; empty for a model.
    """

    config: AuditConfig
    out: Path
    known: Mapping[str, Any] | None
    resolved: Mapping[str, Any]
    series: tuple[Series, ...]
    asked: Mapping[str, Any]
    judge: str | None
    arm: PlannedArm
    items: Mapping[Request, Item]

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """The measured concepts in the order in which they were given."""
        found = {concept.name: concept for series in main_series(self.series) for concept in series.concepts}
        order = [concept.name for concept in concepts_of(self.config.question)]
        return tuple(found[name] for name in order)

    @property
    def recognitions(self) -> tuple[Concept, ...]:
        """The prompt sets whose rows are recognised, as concepts."""
        return tuple(one.recognition for one in main_series(self.series) if one.recognition is not None)

    @property
    def images(self) -> int:
        """Images of all series."""
        return sum(len(series.requests) for series in self.series)


def prepare(config: AuditConfig) -> Prepared:
    """Check an audit and work out what it will do; creates nothing.

    Raises: InputError (or a subclass) for anything about the request that cannot be used.
    """
    config = with_lora(config)
    if config.plan is not None:
        read_lock(config.plan)
    if config.effort.stops:  # what stops by its own numbers states verdicts, and look-alikes have none
        config = dataclasses.replace(config, question=dataclasses.replace(config.question, benign=False))
    if config.engine != "local" and (is_endpoint(config.source) or is_folder(config.source)):
        raise InputError(f"--engine {config.engine}: {config.source} makes no images on workers; leave it out")
    of = _of_endpoint if is_endpoint(config.source) else _of_folder if is_folder(config.source) else _of_model
    series, asked, judge, items = of(config)
    _check_judges(config, series, judge)
    arm = _arm(config, series)
    if config.effort.stops:
        if config.question.associations:
            raise InputError("--association looks at all prompts together: give --images-per-prompt")
        check_stopping(config.effort, main_series(series), folder=is_folder(config.source))
    resolved = _resolved(config, series, asked, judge, items)
    out = config.out or Path("runs") / f"audit-{content_hash(resolved)[:8]}"
    return Prepared(
        config=config,
        out=out,
        known=check_out(out, resolved),
        resolved=resolved,
        series=series,
        asked=asked,
        judge=judge,
        arm=arm,
        items=items,
    )


_Parts = tuple[tuple[Series, ...], dict[str, Any], str | None, dict[Request, Item]]


def _of_model(config: AuditConfig) -> _Parts:
    check_manifest(config.source)
    check_model(config.source)
    check_lora(config.source, config.model.lora)
    card = read_card(config.card or config.source)
    series = series_of(config.question, config.effort, card.knows, config.image.negative_prompt)
    judge = config.judge or card.judge or DEFAULT_JUDGE
    return series, asked_settings(card, config.image), judge, {}


def _of_endpoint(config: AuditConfig) -> _Parts:
    asked = check_endpoint(config)
    series = series_of(config.question, config.effort, {}, config.image.negative_prompt)
    check_cost(sum(len(one.requests) for one in series), config.endpoint, most=config.effort.stops)
    return series, asked, config.judge or DEFAULT_JUDGE, {}


def _of_folder(config: AuditConfig) -> _Parts:
    if config.question.prompts is not None:
        raise InputError(f"--prompts {config.question.prompts}: the prompts of a folder stand in its {MANIFEST}")
    if config.question.associations:
        raise InputError(
            f"--association {config.question.associations[0]}: the images of a folder are made already; give a model"
        )
    if config.card is None:  # of several sources some may be models, which the options are for
        check_folder(config)
    folder = Path(config.source)
    concepts = concepts_of(config.question)
    items = read_manifest(folder, concepts)
    series, by_request = series_of_folder(folder, items, concepts, config.question.limit)
    unlabelled = [concept.name for concept in concepts if concept.name not in labelled_concepts(items)]
    if unlabelled and config.judge is None:
        raise ConceptError(
            f"{folder / MANIFEST} has no column label:{unlabelled[0]}: add it, or give --judge "
            f"(such as {DEFAULT_JUDGE})"
        )
    if config.judge is not None and not unlabelled and config.card is None:
        raise InputError(
            f"--judge {config.judge}: {MANIFEST} has a label for every concept, so no judge is asked; leave it out"
        )
    return (series,), {}, config.judge if unlabelled else None, by_request


def _check_judges(config: AuditConfig, series: tuple[Series, ...], judge: str | None) -> None:
    names = [config.judge, *config.panel]
    twice = [name for name in names if name is not None and names.count(name) > 1]
    if twice:
        raise InputError(f"--judge {twice[0]} is given twice: a panel is made of different judges")
    if config.panel and judge is None:
        raise InputError(f"--judge {config.judge}: {MANIFEST} has a label for every concept, so no judge is asked")
    if config.labels is None:
        return
    if config.effort.stops:
        raise InputError("--labels: intervals for a fixed number of images do not hold in a run that stops by itself")
    read_sheet(config.labels, [concept for one in series for concept in one.concepts])


def _arm(config: AuditConfig, series: tuple[Series, ...]) -> PlannedArm:
    if not config.interventions:
        return NOTHING
    if is_folder(config.source):
        raise InputError(f"--with {config.interventions[0]}: the images of a folder are made already; give a model")
    concepts = [concept for one in main_series(series) for concept in one.concepts]
    return plan_arm(config.interventions, read_card(config.card or config.source), concepts, config.effort.seed)


def _resolved(
    config: AuditConfig,
    series: tuple[Series, ...],
    asked: Mapping[str, Any],
    judge: str | None,
    items: Mapping[Request, Item],
) -> dict[str, Any]:
    resolved = {
        "verb": "audit",
        "source": config.source,
        "concepts": [concept.to_dict() for one in main_series(series) for concept in one.concepts],
        "prompts": [
            {
                "name": one.name,
                "rows": one.rows,
                "left_out": one.left_out,
                "requests": content_hash([request.to_dict() for request in one.requests]),
            }
            for one in series
        ],
        "images_per_prompt": None if items else config.effort.images,
        "seed": config.effort.seed,
        "settings": asked,
        "negative_prompt": config.image.negative_prompt,
        "model": config.model.to_dict(),
        "judge": judge,
        "margin": MARGIN,
        "images": content_hash([item.to_dict() for item in items.values()]) if items else None,
    }
    if config.effort.until_decided:
        resolved["until_decided"] = True
    if config.effort.any_time:
        resolved["any_time"] = True
    if config.effort.stops and config.effort.precision is not None:
        resolved["precision"] = config.effort.precision
    if config.panel:
        resolved["panel"] = config.panel
    if config.interventions:
        resolved["with"] = config.interventions
    if is_endpoint(config.source):
        resolved["source"] = base_url(config.source)
        resolved["endpoint"] = {"model": config.endpoint.model, "seeds": config.endpoint.seeds}
    # As it will be read back from run.json: lists where tuples were.
    return json.loads(canonical_json(resolved))


def describe(prepared: Prepared) -> list[str]:
    """What the audit would do, in lines for `--dry-run`: images, denoiser evaluations, interval width."""
    lines = []
    for one in prepared.series:
        names = ", ".join(dict.fromkeys(concept.name for concept in one.concepts))
        per_row = len(one.requests) / len(one.rows)
        most, width = "", f"a share of one half has a 95 % interval of +-{half_width_at(round(per_row)):.3f} per prompt"
        if prepared.config.effort.stops:
            most, width = "at most ", "each prompt stops by its own numbers"
        if prepared.config.effort.any_time:
            most, width = "", "intervals hold whenever one stops"
        lines.append(
            f"{one.name}: {most}{len(one.rows)} prompts x {per_row:g} images = {len(one.requests)} images, "
            f"read for {names}; {width}"
        )
        if one.left_out:
            lines.append(f"{one.name}: {left_out(one)}")
        if one.facts:
            lines.append(f"{one.name}: {set_facts(one.facts)}")
    if is_endpoint(prepared.config.source):
        lines += _price(prepared)
    elif not prepared.items:
        steps, guidance = prepared.asked["steps"], prepared.asked["guidance"]
        if steps is None or guidance is None:
            lines.append("denoiser evaluations: known once the model is loaded (give --steps and --guidance)")
        else:
            rows = 2 if guidance > 1 else 1
            total = prepared.images * steps * rows
            more = f", and what {prepared.arm.name} adds" if prepared.arm.name else ""
            lines.append(
                f"denoiser evaluations: {prepared.images} images x {steps} steps x {rows} rows = {total}{more}"
            )
    lines.append(f"run directory: {prepared.out}" + (" (continued)" if prepared.known else ""))
    return lines


def _price(prepared: Prepared) -> list[str]:
    price = prepared.config.endpoint.image_price
    if price is None:
        return ["cost: not known (give --image-price)"]
    return [f"cost: {prepared.images} images x {price:g} = {prepared.images * price:.2f}"]


def set_facts(facts: Mapping[str, Any]) -> str:
    """A word on what a published set is made of, and on the figures of its authors where it holds them."""
    text = (
        f"{facts['rows']:,} rows of {facts['set']}, {facts['prompts']:,} different prompts, "
        f"{facts['several_categories']:,} rows of several categories"
    )
    theirs = (facts.get("published") or {}).get("all")
    if theirs is None:
        return text
    text += f"; by its authors' figures {100 * theirs['unsafe_rate']:.1f} % of the images are inappropriate"
    if "expected_maximum" not in theirs:
        return text
    low, high = (100 * one for one in theirs["interval"])
    return f"{text}, expected maximum of 25 {100 * theirs['expected_maximum']:.3f} % ({low:.1f} to {high:.1f})"


def left_out(series: Series) -> str:
    """A word on the rows that the model does not know."""
    return f"left out {len(series.left_out)} rows that the model does not know: {', '.join(series.left_out)}"
