"""A comparison: every arm in one table, what is recommended and by which rules, and the same seeds side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from ..records import Estimate
from .data import Picture, RunView
from .groups import over_rows
from .markup import Markup, el
from .panels import Panel
from .pareto import pareto_plots
from .pictures import picture_frame
from .plots import number_link
from .reading import ConceptView, Reading, read_result
from .words import NOTHING, interval_text, metric_of, number, percent, plain, value_text

_QUALITY = ("text_image_score", "mmd", "vendi", "drift")
_BENIGN = ("over_refusal", "false_alarm", "benign_drift")
_STRIP_ROWS, _STRIP_SEEDS = 4, 4


def compare_table(result: Mapping[str, Any]) -> Table:
    """A rich table for the terminal: a block per arm, so that it fits a narrow window."""
    reading = read_result(result)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "value", "change", "95 % interval"):
        table.add_column(name, justify="left" if name in ("", "95 % interval") else "right")
    for arm in reading.arms:
        table.add_row(Text(f"{arm or 'plain'}, cost {_price(result, arm)}", style="bold"))
        for concept in reading.concepts:
            level, change = _main(reading, concept, arm)
            name = f"  {plain(concept.name)}: {'unsafe rate' if concept.kind == 'safety' else 'deviation'}"
            value = NOTHING if level is None else value_text(level)
            changed = (NOTHING, "") if change is None else (_signed(change), interval_text(change))
            table.add_row(*(Text(cell) for cell in (name, value, *changed)))
        table.add_row(Text("  recognised"), Text(_mean(reading, "recognised", arm, as_percent=True)))
        for metric in _benign(reading) if arm is not None else _benign(reading)[:2]:
            table.add_row(
                Text(f"  {metric_of(metric).title}"), *(Text(cell) for cell in _benign_cells(reading, metric, arm))
            )
        for metric in _QUALITY if arm is not None else ():
            table.add_row(Text(f"  {metric_of(metric).title}"), Text(_mean(reading, metric, arm)))
        table.add_section()
    for name, why in (result.get("declined") or {}).items():
        table.add_row(Text(f"{name} declined: {why}"))
    return table


def _kept(result: Mapping[str, Any], reading: Reading, arm: str | None) -> list[str]:
    """The cells of the table of content and cost."""
    recognised = _mean(reading, "recognised", arm, as_percent=True)
    quality = ["1" if arm is None and name not in ("drift", "mmd") else _mean(reading, name, arm) for name in _QUALITY]
    benign = [_benign_cells(reading, name, arm)[0] for name in _benign(reading)]
    return [recognised, *benign, *quality, _price(result, arm)]


def _benign(reading: Reading) -> list[str]:
    """The figures on harmless look-alikes that the comparison has."""
    return [name for name in _BENIGN if any(e.metric == name for e in reading.estimates)]


def _benign_cells(reading: Reading, metric: str, arm: str | None) -> tuple[str, str, str]:
    """Value, paired change and its interval; a drift is a change by itself."""
    percents = metric != "benign_drift"
    value = _mean(reading, metric, arm, as_percent=percents)
    change = next((e for e in reading.estimates if over_rows(e, f"change:{metric}", arm) and e.value is not None), None)
    return (value, NOTHING, "") if change is None else (value, _signed(change), interval_text(change))


def _main(reading: Reading, concept: ConceptView, arm: str | None) -> tuple[Estimate | None, Estimate | None]:
    """The concept's main figure over the prompts under an arm, and its paired change."""
    metric = "unsafe_rate" if concept.kind == "safety" else "deviation"
    level = next(iter(reading.level(metric, concept.name, arm, rows=False)), None)
    change = next(
        (
            one
            for one in reading.estimates
            if one.metric == f"change:{metric}"
            and one.concept == concept.name
            and one.intervention == arm
            and one.prompt is None
            and one.value is not None
        ),
        None,
    )
    return level, change


def _signed(estimate: Estimate) -> str:
    text = value_text(estimate)
    return f"+{text}" if (estimate.value or 0.0) > 0 else text


def _mean(reading: Reading, metric: str, arm: str | None, *, as_percent: bool = False) -> str:
    """The mean over the prompt sets of a figure over prompts; the table has one column for all sets."""
    values = [
        one.value
        for one in reading.estimates
        if one.metric == metric
        and one.intervention == arm
        and one.prompt is None
        and one.kind == "level"
        and one.scope == "these"
        and one.value is not None
    ]
    if not values:
        return NOTHING
    value = sum(values) / len(values)
    return percent(value) if as_percent else number(value)


def _price(result: Mapping[str, Any], arm: str | None) -> str:
    spent = {cost["intervention"]: cost["denoiser_evaluations"] for cost in result.get("costs") or ()}
    base = spent.get(None)
    return f"{spent[arm] / base:.2f}\u00d7" if base and arm in spent else NOTHING


def comparison_section(
    view: RunView, images: Mapping[int, str | None], panels: Mapping[Estimate, Panel]
) -> Markup | None:
    """The section at the top of a comparison's report; None for an audit."""
    if view.result.get("verb") != "compare":
        return None
    result, reading = view.result, view.reading
    advice = [el("p", {"class": "lede"}, str(one["text"])) for one in result.get("recommendations") or ()]
    rules = [el("li", None, str(rule)) for rule in result.get("rules") or ()]
    declined = [
        el("p", {"class": "warning"}, f"{name} declined: {why}") for name, why in (result.get("declined") or {}).items()
    ]
    return el(
        "section",
        {"id": "comparison"},
        el("h2", None, "What each arm changed"),
        *advice,
        *declined,
        _changed_table(view, panels),
        el("p", {"class": "soft"}, "Changes are paired: every arm starts from the seeds of the plain model."),
        el("h3", None, "What each arm kept, and its cost"),
        _kept_table(view),
        el(
            "p",
            {"class": "soft"},
            "The cost counts denoiser evaluations, in units of the plain model's. ",
            *(
                f"{metric_of(name).title.capitalize()}: {metric_of(name).meaning}. "
                for name in (*_benign(reading), *_QUALITY)
            ),
        ),
        *pareto_plots(result, reading),
        el("details", None, el("summary", None, "The rules of the recommendation"), el("ol", None, *rules)),
        *_strips(view, images, reading.arms[1:]),
    )


def _changed_table(view: RunView, panels: Mapping[Estimate, Panel]) -> Markup:
    reading = view.reading
    heads = []
    for concept in reading.concepts:
        main = "unsafe rate" if concept.kind == "safety" else "deviation"
        heads += [f"{plain(concept.name)}: {main}", "change (95 %)"]
    rows: dict[str | None, list[str | Markup]] = {}
    for arm in reading.arms:
        cells: list[str | Markup] = []
        for concept in reading.concepts:
            level, change = _main(reading, concept, arm)
            if level is None:
                cells.append(NOTHING)
            else:
                cells.append(number_link(level, panels) if level in panels else value_text(level))
            cells.append(NOTHING if change is None else f"{_signed(change)} ({interval_text(change)})")
        rows[arm] = cells
    return _table("what each arm changed", heads, rows)


def _kept_table(view: RunView) -> Markup:
    titles = [metric_of(name).title for name in (*_benign(view.reading), *_QUALITY)]
    heads = ["recognised", *titles, "cost"]
    return _table("content and cost", heads, {arm: _kept(view.result, view.reading, arm) for arm in view.reading.arms})


def _table(label: str, heads: Sequence[str], rows: Mapping[str | None, Sequence[str | Markup]]) -> Markup:
    """A row per arm; narrow windows scroll it sideways."""
    top = el("tr", None, *(el("th", {"scope": "col"}, name) for name in ("arm", *heads)))
    body = [
        el(
            "tr",
            None,
            el("th", {"scope": "row"}, arm or "plain"),
            *(el("td", {"class": "right"}, one) for one in cells),
        )
        for arm, cells in rows.items()
    ]
    table = el("table", None, el("thead", None, top), el("tbody", None, *body))
    return el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}, table)


def _strips(view: RunView, images: Mapping[int, str | None], arms: Sequence[str | None]) -> list[Markup]:
    """For each arm, some rows: the plain pictures above those of the arm, seed by seed."""
    found: list[Markup] = []
    places = {(p.arm, p.prompt_set, p.row, p.index): p for p in view.pictures}
    rows = list(dict.fromkeys((p.prompt_set, p.row) for p in view.pictures))
    for arm in arms:
        moved = sorted(rows, key=lambda row: -_moved(view, places, row, arm))[:_STRIP_ROWS]
        blocks = [_strip(view, images, places, row, arm) for row in moved]
        found += [el("h3", None, f"Before and after: {arm}"), el("div", {"class": "strips"}, *blocks)]
    return found


def _moved(view: RunView, places: Mapping[Any, Picture], row: tuple[str, str], arm: str | None) -> int:
    """In how many of the first seeds of a row another class is perceived: these rows show most."""
    count = 0
    for index in range(_STRIP_SEEDS):
        before, after = places.get((None, *row, index)), places.get((arm, *row, index))
        if before is not None and after is not None:
            count += any(before.label(one.name) != after.label(one.name) for one in view.reading.concepts)
    return count


def _strip(
    view: RunView,
    images: Mapping[int, str | None],
    places: Mapping[Any, Picture],
    row: tuple[str, str],
    arm: str | None,
) -> Markup:
    columns = []
    for index in range(_STRIP_SEEDS):
        pair = [places.get((one, *row, index)) for one in (None, arm)]
        frames = [picture_frame(view, p, images.get(p.number)) for p in pair if p is not None]
        columns.append(el("div", {"class": "pair"}, *frames))
    return el(
        "figure", {"class": "strip"}, el("figcaption", None, plain(row[1])), el("div", {"class": "pairs"}, *columns)
    )
