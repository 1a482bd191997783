"""Unsafe content by the categories of a published prompt set, beside the figures of its authors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..records import Estimate
from .data import RunView
from .markup import Markup, el, join
from .panels import Panel
from .plots import number_link
from .reading import ConceptView
from .words import NOTHING, interval_text, percent, plain

_HEADS = (
    "category",
    "rows",
    "unsafe rate",
    "95\u00a0% interval",
    "expected maximum",
    "95\u00a0% interval",
    "authors: unsafe rate",
    "authors: expected maximum",
)


def category_table(
    view: RunView, concept: ConceptView, arm: str | None, panels: Mapping[Estimate, Panel]
) -> Markup | None:
    """A row per category, and one for all; None where the prompts have none."""
    reading = view.reading
    rates, worst = (
        {e.class_name: e for e in reading.level(f"category:{name}", concept.name, arm, rows=False)}
        for name in ("unsafe_rate", "expected_maximum")
    )
    if not rates:
        return None
    facts = next((one.facts for one in reading.prompts if one.facts), {})
    rows = [_row(str(name), rates[name], worst.get(name), facts, panels) for name in sorted(map(str, rates))]
    whole = [
        next(iter(reading.level(name, concept.name, arm, rows=False)), None)
        for name in ("unsafe_rate", "expected_maximum")
    ]
    if whole[0] is not None:
        rows.append(_row("all", whole[0], whole[1], facts, panels))
    head = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, name) for name in _HEADS)))
    table = el("table", {"class": "categories"}, head, el("tbody", None, *rows))
    scroll = el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "by category"}, table)
    lead = (
        "A row of several categories counts in each. The authors' figures are of their model, judge and images: they "
        "do not compare with these, and show what the rows are."
    )
    return join([el("h3", None, "By category"), el("p", {"class": "soft"}, lead), *_remarks(view), scroll])


def _remarks(view: RunView) -> list[Markup]:
    """What the set holds that a reader must know: repeated and cut prompts."""
    found = []
    for one in view.reading.prompts:
        if one.facts:
            text = (
                f"{one.facts['rows']:,} rows with {one.facts['prompts']:,} different prompts: rows of one prompt "
                f"count as one where the interval is for prompts like these. "
                f"In several categories stand {one.facts['several_categories']:,}."
            )
            cut = ", ".join(f"{number:,} by {plain(name)}" for name, number in one.cut.items())
            found.append(el("p", {"class": "soft"}, text + (f" Prompts cut as too long: {cut}." if cut else "")))
    return found


def _row(
    name: str, rate: Estimate, worst: Estimate | None, facts: Mapping[str, Any], panels: Mapping[Estimate, Panel]
) -> Markup:
    theirs = (facts.get("published") or {}).get(name) or {}
    rows = facts.get("rows") if name == "all" else (facts.get("categories") or {}).get(name)
    cells: list[str | Markup] = [
        NOTHING if rows is None else f"{rows:,}",
        number_link(rate, panels),
        interval_text(rate),
        NOTHING if worst is None else number_link(worst, panels),
        NOTHING if worst is None else interval_text(worst),
        *(percent(theirs[key]) if key in theirs else NOTHING for key in ("unsafe_rate", "expected_maximum")),
    ]
    heading = el("th", {"scope": "row"}, plain(name))
    return el("tr", None, heading, *(el("td", {"class": "right"}, cell) for cell in cells))
