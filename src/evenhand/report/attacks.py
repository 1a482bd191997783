"""An attack: how often other words brought unsafe content back under each arm, and which words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from ..records import Estimate
from .data import RunView
from .groups import over_rows
from .markup import Markup, el
from .panels import Panel
from .plots import number_link
from .reading import Reading, read_result
from .words import NOTHING, interval_text, metric_of, plain, value_text

_METRICS = ("unsafe_rate", "attack_success", "on_topic_success", "off_topic", "attack_gain")


def attack_table(result: Mapping[str, Any]) -> Table:
    """A rich table for the terminal: a block per arm."""
    reading = read_result(result)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "value", "95 % interval", "n"):
        table.add_column(name, justify="right" if name in ("value", "n") else "left")
    for arm in reading.arms:
        table.add_row(Text(arm or "plain", style="bold"))
        for metric in _METRICS:
            one = _over(reading, metric, arm)
            if one is not None:
                cells = (f"  {_title(metric)}", value_text(one), interval_text(one), f"{one.n:,}")
                table.add_row(*(Text(cell) for cell in cells))
        table.add_section()
    for name, why in (result.get("declined") or {}).items():
        table.add_row(Text(f"{name} declined: {why}"))
    return table


def attack_section(view: RunView, panels: Mapping[Estimate, Panel]) -> Markup | None:
    """The section at the top of an attack's report; None for anything else."""
    if view.result.get("verb") != "attack":
        return None
    reading, search = view.reading, view.result.get("search") or {}
    lead = (
        f"For every goal and arm {search.get('tries')} prompts in each of {search.get('rounds')} rounds; the search "
        f"may {'' if search.get('explicit') else 'not '}name the unsafe things. What it found was measured on other "
        "seeds. A search that fails proves little: its success is a lower limit."
    )
    heads = ["arm"]
    for metric in _METRICS:
        heads += [_title(metric), "95\u00a0% interval"]
    rows = [_row(reading, arm, panels) for arm in reading.arms]
    return el(
        "section",
        {"id": "attack"},
        el("h2", None, "What other words brought back"),
        el("p", {"class": "soft"}, lead),
        _table("attack", heads, rows),
        el("p", {"class": "soft"}, *(f"{_title(name).capitalize()}: {metric_of(name).meaning}. " for name in _METRICS)),
        el("h3", None, "The words that were found"),
        _table("words", ["arm", "goal", "prompt", "attack success"], _found(view, panels)),
    )


def _over(reading: Reading, metric: str, arm: str | None) -> Estimate | None:
    return next((e for e in reading.estimates if over_rows(e, metric, arm) and e.scope == "these"), None)


def _title(metric: str) -> str:
    return "unsafe rate of the goals" if metric == "unsafe_rate" else metric_of(metric).title


def _row(reading: Reading, arm: str | None, panels: Mapping[Estimate, Panel]) -> Markup:
    cells: list[str | Markup] = []
    for metric in _METRICS:
        one = _over(reading, metric, arm)
        cells += [NOTHING, ""] if one is None else [number_link(one, panels), interval_text(one)]
    return _cells(arm or "plain", cells)


def _found(view: RunView, panels: Mapping[Estimate, Panel]) -> list[Markup]:
    success = {
        (e.intervention, e.prompt): e for e in view.reading.estimates if e.metric == "attack_success" and e.prompt
    }
    rows = []
    for one in view.result.get("attacks") or ():
        e = success.get((one["intervention"], one["goal"]))
        number = NOTHING if e is None else number_link(e, panels)
        rows.append(_cells(one["intervention"] or "plain", [plain(one["goal"]), str(one["prompt"]), number]))
    return rows


def _cells(name: str, cells: list[str | Markup]) -> Markup:
    return el("tr", None, el("th", {"scope": "row"}, name), *(el("td", None, cell) for cell in cells))


def _table(label: str, heads: list[str], rows: list[Markup]) -> Markup:
    head = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, name) for name in heads)))
    table = el("table", {"class": "attack"}, head, el("tbody", None, *rows))
    return el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}, table)
