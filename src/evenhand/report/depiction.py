"""How groups are depicted: what differs where the same prompts name each group in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..records import Estimate
from .data import RunView
from .groups import attribute_of, finding, over_rows
from .markup import Markup, el
from .panels import Panel
from .plots import number_link
from .reading import Reading
from .text import subject
from .words import NOTHING, interval_text, metric_of, plain, role_of, value_text

_DIFFERENCES = ("association", "text_association", "image_association", "group_quality_gap", "group_drift_gap")
_LEVELS = {"association": "presence", "group_quality_gap": "group_quality"}


def depicted(view: RunView) -> list[Estimate]:
    """The estimates of groups, if any."""
    return [e for e in view.reading.estimates if role_of(e.metric) == "association"]


def depiction_section(view: RunView, panels: Mapping[Estimate, Panel]) -> Markup | None:
    """A table of differences for each arm; None where no association was asked for."""
    if not depicted(view):
        return None
    reading = view.reading
    parts: list[Markup | None] = [
        el("h2", None, "How groups are depicted"),
        el(
            "p",
            {"class": "soft"},
            "The same prompts name each group in turn, from the same seeds: what differs is the group. q corrects p "
            "for the number of tests (Benjamini and Hochberg). Groups are those that prompts name; what a picture "
            "shows is what a judge perceives.",
        ),
    ]
    for arm in reading.arms:
        if len(reading.arms) > 1:
            parts.append(el("h3", None, subject(reading, arm)))
        parts.append(el("p", {"class": "lede"}, finding(reading, arm)))
        parts.append(_table(reading, arm, panels))
    return el("section", {"id": "depiction"}, *parts)


def _table(reading: Reading, arm: str | None, panels: Mapping[Estimate, Panel]) -> Markup:
    heads = ("measure", "attribute", "groups", "levels", "difference", "95\u00a0% interval", "p", "q", "n", "")
    rows = [
        _row(reading, e, panels)
        for metric in (*_DIFFERENCES, *(f"change:{name}" for name in _DIFFERENCES))
        for e in reading.estimates
        if over_rows(e, metric, arm)
    ]
    head = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, name) for name in heads)))
    table = el("table", {"class": "depiction"}, head, el("tbody", None, *rows))
    return el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "differences"}, table)


def _row(reading: Reading, e: Estimate, panels: Mapping[Estimate, Panel]) -> Markup:
    what, _, pair = str(e.class_name).rpartition(", ")
    attribute = attribute_of(e) if not what or what == "yes" else f"{attribute_of(e)}: {plain(what)}"
    cells: Sequence[str | Markup] = (
        attribute,
        plain(pair),
        _levels(reading, e, what, pair),
        number_link(e, panels) if e in panels else value_text(e),
        interval_text(e),
        _probability(e.p_value),
        _probability(e.q_value),
        f"{e.n:,}",
        "found" if e.decision == "biased" else "",
    )
    heading = el("th", {"scope": "row"}, metric_of(e.metric).title)
    return el("tr", None, heading, *(el("td", {"class": "right" if k > 1 else None}, c) for k, c in enumerate(cells)))


def _levels(reading: Reading, e: Estimate, what: str, pair: str) -> str:
    """The value in each group of the pair, where the metric has levels."""
    level = _LEVELS.get(e.metric)
    if level is None:
        return NOTHING
    found = [
        value_text(one)
        for group in pair.split(" over ")
        for one in reading.estimates
        if over_rows(one, level, e.intervention)
        and (one.concept, one.class_name, one.scope) == (e.concept, f"{what}, {group}", "these")
    ]
    return " and ".join(found)


def _probability(value: float | None) -> str:
    return NOTHING if value is None else "<\u00a0.001" if value < 0.001 else f"{value:.3f}"
