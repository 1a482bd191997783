"""A result in plain words and as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ..records import Estimate
from .groups import groups_finding
from .reading import DECISIONS, ConceptView, Reading, read_result
from .words import (
    HEADLINES,
    count,
    hits,
    interval_text,
    number,
    plain,
    role_of,
    undefined_reason,
    value_text,
)

_WORST_ROWS = 3


def headline(result: Mapping[str, Any]) -> str:
    """The result in a few plain sentences; every number stands with its interval or its n."""
    return " ".join(sentence for concept in headline_sentences(read_result(result)) for sentence in concept)


def headline_sentences(reading: Reading) -> tuple[tuple[str, ...], ...]:
    """One or two sentences per concept, of the first arm."""
    arm = reading.arms[0]
    found = tuple(
        tuple((_safety if concept.kind == "safety" else _attribute)(reading, concept, arm))
        for concept in reading.concepts
    )
    return found + groups_finding(reading) or ((f"Nothing was measured on {subject(reading, arm)}.",),)


def subject(reading: Reading, arm: str | None) -> str:
    """ "skewville", or "skewville with SPEC"."""
    return reading.model if arm is None else f"{reading.model} with {arm}"


def most_skewed(reading: Reading, concept: ConceptView, arm: str | None) -> tuple[Estimate, ...]:
    """Per prompt row the share that lies farthest above its target (for safety: the rate), largest first."""
    metric = "unsafe_rate" if concept.kind == "safety" else "share"
    best: dict[str, tuple[float, Estimate]] = {}
    for estimate in reading.level(metric, concept.name, arm, rows=True):
        if estimate.value is None or estimate.prompt is None:
            continue
        target = dict(zip(concept.classes, concept.target, strict=True)).get(estimate.class_name or "", 0.0)
        excess = estimate.value - (target if metric == "share" else 0.0)
        if estimate.prompt not in best or excess > best[estimate.prompt][0]:
            best[estimate.prompt] = (excess, estimate)
    ranked = sorted(best.values(), key=lambda pair: -pair[0])
    return tuple(estimate for _, estimate in ranked)


def verdict_counts(reading: Reading, concept: ConceptView, arm: str | None) -> dict[str, int]:
    """How many prompt rows are fair, biased and undecided."""
    found = list(reading.row_decisions(concept.name, arm).values())
    return {decision: found.count(decision) for decision in DECISIONS}


def _first(estimates: tuple[Estimate, ...]) -> Estimate | None:
    return next((e for e in estimates if e.class_name is None), estimates[0] if estimates else None)


def _attribute(reading: Reading, concept: ConceptView, arm: str | None) -> list[str]:
    sentences = []
    ranked = most_skewed(reading, concept, arm)
    if ranked:
        worst = ranked[0]
        k = hits(worst)
        verb = "is" if k == 1 else "are"
        amount = f"{value_text(worst)} of {worst.n:,}" if k is None else f"{k:,} of {worst.n:,}"
        pictures = "picture" if worst.n == 1 else "pictures"
        row, label = plain(worst.prompt or ""), plain(worst.class_name or "")
        sentences.append(
            f"{amount} {pictures} of “{row}” from {subject(reading, arm)} {verb} perceived as {label} "
            f"(95\u00a0% interval {interval_text(worst)})."
        )
    deviation = _first(reading.level("deviation", concept.name, arm, rows=False))
    target = "an even share" if concept.even else "its target"
    if deviation is not None and deviation.value is not None:
        sentences.append(
            f"Over {count(len(ranked), 'prompt')}, the deviation of {plain(concept.name)} from {target} is "
            f"{value_text(deviation)} (95\u00a0% interval {interval_text(deviation)}; 0 is none)."
        )
    if not sentences:
        reason = undefined_reason(deviation) if deviation is not None else "no estimate in the result"
        sentences.append(f"For {plain(concept.name)} there is no number ({reason}).")
    return sentences


def _safety(reading: Reading, concept: ConceptView, arm: str | None) -> list[str]:
    ranked = most_skewed(reading, concept, arm)
    overall = _first(reading.level("unsafe_rate", concept.name, arm, rows=False))
    if overall is None or overall.value is None:
        reason = undefined_reason(overall) if overall is not None else "no estimate in the result"
        return [f"For {plain(concept.name)} there is no number over the prompts ({reason})."]
    what = (
        "something unsafe"
        if concept.name == "unsafe"
        else f"{plain(concept.name)} ({plain(concept.unsafe_class or '')})"
    )
    # only the built-in set is known to name nothing unsafe
    innocent = " that name nothing unsafe" if "contexts" in {p.name for p in reading.prompts} else ""
    text = (
        f"In {value_text(overall)} of {count(overall.n, 'picture')} asked for with "
        f"{count(len(ranked), 'prompt')}{innocent}, {what} is perceived (95\u00a0% interval {interval_text(overall)})"
    )
    if ranked and (ranked[0].value or 0.0) > 0:
        worst = ranked[0]
        row = plain(worst.prompt or "")
        text += f", most often for “{row}”: {value_text(worst)} of {worst.n:,} ({interval_text(worst)})"
    return [f"{text}."]


def summary_table(result: Mapping[str, Any]) -> Table:
    """A rich table: per concept and arm the figures over the prompts, then the most skewed prompt rows.

    Metrics stand under the names of result.json, which are those that a threshold names.
    """
    reading = read_result(result)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "value", "95 % interval", "n", "verdict"):
        table.add_column(name, justify="right" if name in ("value", "n") else "left")
    for arm in reading.arms:
        for concept in reading.concepts:
            _add_concept(table, reading, concept, arm)
    listed = {concept.name for concept in reading.concepts}
    others = [
        e
        for e in reading.estimates
        if e.prompt is None and e.scope == "these" and (e.concept not in listed or e.metric in _OF_PAIRS)
    ]
    others = [e for e in others if role_of(e.metric) != "association" or e.metric in _OF_PAIRS]
    for estimate in others:
        about = [plain(part) for part in (estimate.concept, estimate.class_name) if part]
        of = about if role_of(estimate.metric) == "association" else about[:1]
        _add(table, f"{estimate.metric} ({', '.join(of)})" if of else estimate.metric, estimate)
    return table


_OF_PAIRS = ("association", "group_quality_gap", "group_drift_gap", "change:association")


def _add_concept(table: Table, reading: Reading, concept: ConceptView, arm: str | None) -> None:
    table.add_row(Text(plain(concept.name) if arm is None else f"{plain(concept.name)}, {arm}", style="bold"))
    for metric in HEADLINES:
        for estimate in reading.level(metric, concept.name, arm, rows=False):
            of = f" ({plain(estimate.class_name)})" if estimate.class_name and concept.kind != "safety" else ""
            _add(table, f"  {metric}{of}", estimate)
    for estimate in most_skewed(reading, concept, arm)[:_WORST_ROWS]:
        label = plain(estimate.class_name or concept.unsafe_class or "")
        _add(table, f"  {plain(estimate.prompt or '')}: {label}", estimate)
    counts = verdict_counts(reading, concept, arm)
    if any(counts.values()):
        text = ", ".join(f"{k} {decision}" for decision, k in counts.items() if k)
        _add_text(table, (f"  {count(sum(counts.values()), 'prompt')}: {text}", "", "", "", ""))
    table.add_section()


def _add(table: Table, measure: str, estimate: Estimate) -> None:
    decision = (estimate.decision or "") + (" circular" if estimate.circular else "")
    cells = (value_text(estimate), interval_text(estimate), f"{estimate.n:,}", decision.strip())
    _add_text(table, (measure, *cells))
    if estimate.floor is not None:
        mean, quantile = (number(value) for value in estimate.floor)
        _add_text(table, ("    a fair model", mean, f"95 % below {quantile}", "", ""))


def _add_text(table: Table, cells: tuple[str, ...]) -> None:
    """One row; everything goes in as Text, so that square brackets of a name are no markup."""
    table.add_row(*(Text(cell) for cell in cells))
