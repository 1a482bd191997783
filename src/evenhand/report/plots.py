"""Dot-and-interval plots: a line per prompt row, drawn in percent so that they fit any width without scaling text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from ..records import Estimate
from .markup import Markup, el, join
from .panels import Panel
from .words import hits, interval_text, plain, sample_size, undefined_reason, value_text

LANE = 24
_WIDE = 9
_SHAPES = (
    "M-5.5,0A5.5,5.5 0 1 0 5.5,0A5.5,5.5 0 1 0 -5.5,0Z",  # circle
    "M0,-7L7,0L0,7L-7,0Z",  # diamond
    "M0,-6.5L6.5,5L-6.5,5Z",  # triangle
    "M-5,-5H5V5H-5Z",  # square
    "M0,6.5L6.5,-5L-6.5,-5Z",  # triangle pointing down
    "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",  # plus
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """One estimate of a row. `target` is the wanted share, `fair` how far chance takes a fair model from it."""

    series: int
    name: str
    estimate: Estimate
    target: float | None = None
    fair: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlotRow:
    """One prompt row: its marks lie in lanes one below the other."""

    name: str
    marks: tuple[Mark, ...]
    decision: str | None = None


def number_link(estimate: Estimate, panels: Mapping[Estimate, Panel], *, text: str | None = None) -> Markup:
    """The number as a link to its pictures."""
    panel = panels[estimate]
    attributes = {"class": "num", "href": f"#{panel.identifier}", "title": "show the pictures behind this number"}
    return el("a", attributes, text or value_text(estimate))


def shape(series: int) -> Markup:
    """The marker of a series, for a legend."""
    drawn = el("path", {"d": _SHAPES[series % len(_SHAPES)]})
    return el("svg", {"class": f"key k{series % 6}", "viewBox": "-8 -8 16 16", "aria-hidden": "true"}, drawn)


def decision_badge(decision: str | None) -> Markup:
    """The verdict in words; the colour only repeats it."""
    return el("span", {"class": f"verdict {decision or 'none'}"}, decision or "")


def dot_plot(
    rows: Sequence[PlotRow], panels: Mapping[Estimate, Panel], *, margin: float | None, low_end: str, high_end: str
) -> Markup:
    """The plot of `rows` in the order given, with the axis above and below."""
    lines = [_row(row, panels, margin) for row in rows]
    sides = (el("span", None, f"← {low_end}"), el("span", None, f"{high_end} →"))
    ends = el("li", {"class": "row axis", "aria-hidden": "true"}, el("span", {"class": "ax"}, *sides))
    several = any(len(row.marks) > 1 for row in rows)
    wide = several and any(len(mark.name) > _WIDE for row in rows for mark in row.marks)
    kind = "plot" + (" several" if several else "") + (" wide" if wide else "")
    return el("ol", {"class": kind}, ends if low_end else None, _axis(), *lines, _axis())


def _axis() -> Markup:
    ticks = [el("span", {"class": f"t{t}"}, f"{t}\u00a0%" if t in (0, 100) else str(t)) for t in (0, 25, 50, 75, 100)]
    return el("li", {"class": "row axis", "aria-hidden": "true"}, el("span", {"class": "ax ticks"}, *ticks))


def _row(row: PlotRow, panels: Mapping[Estimate, Panel], margin: float | None) -> Markup:
    height = LANE * len(row.marks) + 10
    lanes = [_lane(mark, lane, panels, margin) for lane, mark in enumerate(row.marks)]
    grid = [
        el("line", {"class": "rule", "x1": _at(x), "x2": _at(x), "y1": 0, "y2": height})
        for x in (0, 0.25, 0.5, 0.75, 1)
    ]
    backs = [part for back, _ in lanes for part in back]
    fronts = [front for _, front in lanes]
    svg = el("svg", {"class": "track", "height": height, "aria-hidden": "true"}, *grid, *backs, *fronts)
    several = len(row.marks) > 1
    values = [_value(mark, panels, several) for mark in row.marks]
    return el(
        "li",
        {"class": "row"},
        el("span", {"class": "label"}, plain(row.name)),
        svg,
        el("span", {"class": "values"}, *values),
        decision_badge(row.decision),
    )


def _lane(mark: Mark, lane: int, panels: Mapping[Estimate, Panel], margin: float | None) -> tuple[list[Markup], Markup]:
    """What lies behind (band, fair range, target) and before (interval and marker) in one lane."""
    top, bottom = (0 if lane == 0 else 5 + lane * LANE), 5 + (lane + 1) * LANE
    return _backdrop(mark, top, bottom, margin), _dot(mark, 5 + lane * LANE + LANE // 2, panels)


def _backdrop(mark: Mark, top: int, bottom: int, margin: float | None) -> list[Markup]:
    if mark.target is None:
        return []
    parts = []
    end = bottom + 5
    if margin is not None:
        left, right = max(0.0, mark.target - margin), min(1.0, mark.target + margin)
        parts.append(
            el("rect", {"class": "band", "x": _at(left), "width": _at(right - left), "y": top, "height": end - top})
        )
    if mark.fair is not None:
        for x in (mark.target - mark.fair, mark.target + mark.fair):
            if 0 <= x <= 1:
                parts.append(el("line", {"class": "fair", "x1": _at(x), "x2": _at(x), "y1": top, "y2": end}))
    parts.append(el("line", {"class": "target", "x1": _at(mark.target), "x2": _at(mark.target), "y1": top, "y2": end}))
    return parts


def _dot(mark: Mark, y: int, panels: Mapping[Estimate, Panel]) -> Markup:
    estimate = mark.estimate
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return Markup("")
    tip = f"{mark.name}: {value_text(estimate)} ({interval_text(estimate)}), {sample_size(estimate)}"
    line = el("line", {"class": "bar", "x1": _at(estimate.low), "x2": _at(estimate.high), "y1": y, "y2": y})
    marker = el("svg", {"x": _at(estimate.value), "y": y}, el("path", {"d": _SHAPES[mark.series % len(_SHAPES)]}))
    hit = el("line", {"class": "hit", "x1": _at(estimate.low), "x2": _at(estimate.high), "y1": y, "y2": y})
    link = {"href": f"#{panels[estimate].identifier}", "class": f"dot k{mark.series % 6}", "tabindex": -1}
    return el("a", link, el("title", None, tip), line, marker, hit)


def _value(mark: Mark, panels: Mapping[Estimate, Panel], several: bool) -> Markup:
    estimate = mark.estimate
    name = el("span", {"class": "series"}, shape(mark.series), mark.name) if several else None
    if estimate.value is None:
        link = number_link(estimate, panels)
        return el("span", {"class": "value"}, name, link, el("span", {"class": "ci"}, undefined_reason(estimate)))
    k = hits(estimate)
    size = sample_size(estimate) if k is None else f"{k:,} of {estimate.n:,}"
    interval = el("span", {"class": "ci"}, f"{interval_text(estimate)}")
    return el(
        "span", {"class": "value"}, name, number_link(estimate, panels), interval, el("span", {"class": "n"}, size)
    )


def legend(*, target: bool, margin: float | None, fair: bool, series: Sequence[str] = ()) -> Markup:
    """What the marks mean; `series` are the classes where a row has several."""
    items = [el("li", None, shape(i), plain(name)) for i, name in enumerate(series)]
    items.append(el("li", None, el("span", {"class": "swatch ci"}), "95\u00a0% interval"))
    if target:
        items.append(el("li", None, el("span", {"class": "swatch target"}), "target"))
    if target and margin is not None:
        items.append(el("li", None, el("span", {"class": "swatch band"}), f"margin, ±{margin * 100:.0f} points"))
    if fair:
        text = "a perfectly fair model stays between these in 95\u00a0% of audits of this size"
        items.append(el("li", None, el("span", {"class": "swatch fair"}), text))
    return el("ul", {"class": "legend"}, join(items))


def _at(share: float) -> str:
    return f"{share * 100:.2f}%"
