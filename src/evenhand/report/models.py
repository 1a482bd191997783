"""Several models in one table: every figure with its interval, and its difference from the first model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from ..errors import RunDirectoryError
from ..files import read_json, write_bytes
from ..records import Estimate
from .markup import Markup, el
from .page import document
from .words import HEADLINES, NOTHING, interval_text, metric_of, plain, value_text

SCHEMA = "evenhand.models/1"
_SHOWN = (*HEADLINES, "association", "group_quality_gap")


def is_models(run: Path) -> bool:
    """Whether a directory holds audits of several models."""
    file = run / "result.json"
    return file.is_file() and not (run / "run.json").exists() and read_json(file).get("schema") == SCHEMA


def models_table(result: Mapping[str, Any]) -> Table:
    """A rich table for the terminal: a block per figure, a line per model."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "value", "95 % interval", "difference", "95 % interval", ""):
        table.add_column(name, justify="right" if name in ("value", "difference") else "left")
    for title, lines in _figures(result).items():
        table.add_row(Text(title, style="bold"))
        for name, level, change in lines:
            cells = (f"  {name}", value_text(level), interval_text(level), *_change(change))
            table.add_row(*(Text(cell) for cell in cells))
        table.add_section()
    return table


def write_models_report(run: Path) -> Path:
    """Write `report.html` into the directory of several models and return its path.

    Raises:
        RunDirectoryError: its result.json is missing or malformed.
        StorageError: the page cannot be written; an older page stays.
    """
    try:
        result = read_json(run / "result.json")
        page = _page(result)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunDirectoryError(f"{run}: result.json cannot be read ({error}); run the audit again") from error
    target = run / "report.html"
    write_bytes(target, page.encode())
    return target


_Line = tuple[str, Estimate, Estimate | None]


def _figures(result: Mapping[str, Any]) -> dict[str, list[_Line]]:
    """Title of a figure to its lines: model, value, and difference from the base where there is one."""
    changes = {}
    for data in result["differences"]:
        one = Estimate.from_dict({key: value for key, value in data.items() if key not in ("model", "base")})
        changes[data["model"], one.metric, one.concept, one.class_name, one.prompt] = one
    found: dict[str, list[_Line]] = {}
    for metric in _SHOWN:
        for model in result["models"]:
            for data in model["estimates"]:
                e = Estimate.from_dict(data)
                if e.metric == metric and e.scope == "these" and e.kind in ("level", "change"):
                    name = f"change:{e.metric}"
                    change = changes.get((model["name"], name, e.concept, e.class_name, e.prompt))
                    found.setdefault(_title(e), []).append((model["name"], e, change))
    return found


def _title(e: Estimate) -> str:
    about = ", ".join(plain(part) for part in (e.concept, e.class_name) if part)
    title = metric_of(e.metric).title.capitalize()
    return f"{title}: {about}" if about else title


def _change(e: Estimate | None) -> tuple[str, str, str]:
    if e is None or e.value is None or e.low is None or e.high is None:
        return NOTHING, "", ""
    sign = "+" if e.value > 0 else ""
    return f"{sign}{value_text(e)}", interval_text(e), "differs" if e.low > 0 or e.high < 0 else ""


def _page(result: Mapping[str, Any]) -> str:
    names = [str(model["name"]) for model in result["models"]]
    lead = (
        f"Differences are from {names[0]}. Their intervals take the images of two models for independent; where they "
        "come from the same seeds, the intervals are too wide rather than too narrow: ",
        el("code", None, "evenhand diff"),
        " pairs them.",
    )
    parts: list[Markup | None] = [
        el("p", {"class": "eyebrow"}, f"Evenhand · audit of {len(names)} models"),
        el("h1", None, _finding(result, names)),
        el("p", {"class": "lede"}, *lead),
    ]
    links = [el("li", None, _link(model)) for model in result["models"]]
    parts.append(el("ul", None, *links))
    for title, lines in _figures(result).items():
        parts.append(el("section", None, el("h2", None, title), _table(title, lines)))
    return document(f"Evenhand report: {', '.join(names)}", el("main", None, *parts))


def _link(model: Mapping[str, Any]) -> Markup:
    name = str(model["name"])
    return el("a", {"href": f"{model['run']}/report.html"}, f"the report of {name}, with its images")


def _finding(result: Mapping[str, Any], names: Sequence[str]) -> str:
    proven = [
        f"{title.lower()} of {name} by {_change(change)[0]}"
        for title, lines in _figures(result).items()
        for name, _, change in lines
        if _change(change)[2]
    ]
    if not proven:
        return f"No difference from {names[0]} is beyond chance."
    return f"What differs from {names[0]}: {'; '.join(proven[:6])}{'; and more' if len(proven) > 6 else ''}."


def _table(label: str, lines: Sequence[_Line]) -> Markup:
    heads = ("model", "value", "95\u00a0% interval", "n", "difference", "95\u00a0% interval", "")
    head = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, name) for name in heads)))
    rows = []
    for name, level, change in lines:
        cells = (value_text(level), interval_text(level), f"{level.n:,}", *_change(change))
        rows.append(el("tr", None, el("th", {"scope": "row"}, name), *(el("td", {"class": "right"}, c) for c in cells)))
    table = el("table", {"class": "models"}, head, el("tbody", None, *rows))
    return el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}, table)
