"""What a fit would do, in lines for `--dry-run`: images, denoiser evaluations, and minutes where they can be told."""

from __future__ import annotations

from collections.abc import Sequence

from ..host.card import ModelCard
from ..methods.fitting import FitPlan, Preview, Work
from ..methods.method import Setting
from ..methods.table import all_methods
from .fit import PreparedFit
from .fits import DEFAULT_FIT_JUDGE, rows_of
from .timings import evaluations_per_second


def describe_fit(prepared: PreparedFit) -> list[str]:
    """The plan of every fit, and what it costs in all; nothing is loaded or written."""
    config, card = prepared.config, prepared.card
    lines, total = [], 0.0
    known = card.steps is not None
    for plan in prepared.plans:
        works = _works(plan, prepared.setting, card)
        lines.append(f"{plan.method} of {_about(plan)} on {config.source}")
        lines += [f"  {_line(one, card)}" for one in works]
        if not works:
            lines.append("  its images are not counted beforehand; it says what it does when it begins")
        known = known and bool(works)
        total += sum(one.weight(card.steps or 0, guided=_guided(card)) for one in works)
    lines.append(f"fit judge: {config.judge or card.fit_judge or DEFAULT_FIT_JUDGE}")
    lines.append(_time(config.source, total) if known else "minutes: not known beforehand")
    lines.append(f"folder: {prepared.out}")
    return lines


def _works(plan: FitPlan, setting: Setting, card: ModelCard) -> Sequence[Work]:
    work = all_methods()[plan.method].work
    if work is None:
        return ()
    preview = Preview(setting=setting, rows=lambda concept: rows_of(concept, card.knows))
    return work(preview, plan.values)


def _line(work: Work, card: ModelCard) -> str:
    parts = [f"{work.images:,} images"] if work.images else []
    if card.steps is None and work.images:
        parts.append("denoiser evaluations are known once the model is loaded")
    elif work.images or work.rows or work.differentiated:
        parts.append(f"{work.evaluations(card.steps or 0, guided=_guided(card)):,} denoiser evaluations")
    if work.differentiated:
        parts.append("differentiated")
    text = ", ".join(parts) or "no denoiser evaluations"
    return f"{work.what}: {'at most ' if work.at_most else ''}{text}"


def _guided(card: ModelCard) -> bool:
    return card.guidance is None or card.guidance > 1


def _time(source: str, total: float) -> str:
    rate = evaluations_per_second(source)
    if rate is None:
        return "minutes: not known; the first fit of this model on this machine measures how fast it is"
    return f"minutes: about {total / rate / 60:.1f}, at {rate:.0f} evaluations a second as measured here"


def _about(plan: FitPlan) -> str:
    return str(plan.values.get("concept") or plan.values.get("present") or "no concept")
