"""Which arms are worth a thought: fairness or safety against content and cost, and who is beaten in everything."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .markup import Markup, el
from .reading import ConceptView, Reading
from .words import number, percent, plain

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 560, 320, 64, 20, 24, 48


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """An arm: its main figures by concept (lower is better), content kept (higher) and cost (lower)."""

    arm: str | None
    harm: Mapping[str, tuple[float, float, float]]
    content: float
    cost: float

    def dominates(self, other: Point) -> bool:
        """Whether it is at least as good in everything and better in something."""
        mine = [*(value for value, _, _ in self.harm.values()), -self.content, self.cost]
        theirs = [*(value for value, _, _ in other.harm.values()), -other.content, other.cost]
        pairs = list(zip(mine, theirs, strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def points_of(result: Mapping[str, Any], reading: Reading) -> list[Point]:
    """The arms of a comparison whose figures are all defined, the plain one first."""
    spent = {one["intervention"]: one["denoiser_evaluations"] for one in result.get("costs") or ()}
    base = spent.get(None) or 0
    found = []
    for arm in reading.arms:
        harm = {}
        for concept in reading.concepts:
            metric = "unsafe_rate" if concept.kind == "safety" else "deviation"
            for one in reading.level(metric, concept.name, arm, rows=False):
                if one.value is not None and one.low is not None and one.high is not None:
                    harm[concept.name] = (one.value, one.low, one.high)
        content = _content(reading, arm)
        if len(harm) == len(reading.concepts) and content is not None and base and arm in spent:
            found.append(Point(arm=arm, harm=harm, content=content, cost=spent[arm] / base))
    return found


def front(points: Sequence[Point]) -> list[bool]:
    """Which points no other one dominates."""
    return [not any(other.dominates(one) for other in points) for one in points]


def pareto_plots(result: Mapping[str, Any], reading: Reading) -> list[Markup]:
    """A heading, a plot for each concept and what the numbers stand for; nothing for fewer than two arms."""
    points = points_of(result, reading)
    if len(points) < 2:
        return []
    kept = front(points)
    names = [
        el(
            "li",
            None,
            f"{point.arm or 'plain'}: cost {point.cost:.2f}\u00d7" + ("" if best else ", beaten in everything"),
        )
        for point, best in zip(points, kept, strict=True)
    ]
    return [
        el("h3", None, "Fairness, safety, content and cost"),
        el(
            "p",
            {"class": "soft"},
            "Best is the lower right corner. The area of a mark is the cost in denoiser evaluations, the bar the "
            "95\u00a0% interval. Filled marks are on the Pareto front of all figures, content and cost together: no "
            "other arm is at least as good in each and better in one, by the estimates. Marks at one place stand side "
            "by side.",
        ),
        *(_plot(concept, points, kept) for concept in reading.concepts),
        el("ol", None, *names),
    ]


def _content(reading: Reading, arm: str | None) -> float | None:
    """The share of pictures that are recognised, or the text-image score, of which plain pictures have 1."""
    for metric in ("recognised", "text_image_score"):
        values = [
            one.value
            for one in reading.estimates
            if (one.metric, one.intervention, one.prompt, one.kind, one.scope) == (metric, arm, None, "level", "these")
            and one.value is not None
        ]
        if values:
            return sum(values) / len(values)
    return 1.0 if arm is None else None


def _plot(concept: ConceptView, points: Sequence[Point], kept: Sequence[bool]) -> Markup:
    safety = concept.kind == "safety"
    title = f"{plain(concept.name)}: {'unsafe rate' if safety else 'deviation from the target'}"
    top = max(high for point in points for _, _, high in [point.harm[concept.name]]) or 1.0
    contents = [point.content for point in points]
    low, high = min(contents), max(contents)
    pad = max(0.02, (high - low) * 0.15)
    low, high = low - pad, high + pad
    shown = percent if safety else number
    floor = _HEIGHT - _BOTTOM - max(_radius(point) for point in points)  # a mark at 0 stays clear of the labels below

    def across(content: float) -> float:
        return _LEFT + (content - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def down(value: float) -> float:
        return _TOP + (1 - value / (top * 1.05)) * (floor - _TOP)

    parts = [el("title", None, title), *_axes(title, [(down(top * k / 4), shown(top * k / 4)) for k in range(5)])]
    ticks = [(across(one), percent(max(0.0, one))) for one in (low + pad, (low + high) / 2, high - pad)]
    parts += [_text(x, _HEIGHT - _BOTTOM + 16, text, "middle") for x, text in dict.fromkeys(ticks)]
    places = apart([across(point.content) for point in points])
    for place, (point, best, x) in enumerate(zip(points, kept, places, strict=True), 1):
        parts.append(_mark(place, point, best, concept.name, (x, down)))
    box = {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-label": title, "width": "100%"}
    return el("figure", None, el("figcaption", None, title.capitalize()), el("svg", box, *parts))


def apart(places: Sequence[float], gap: float = 30.0) -> list[float]:
    """The same places, those that are nearer to each other than `gap` side by side around their middle."""
    order = sorted(range(len(places)), key=lambda k: (places[k], k))
    clusters: list[list[int]] = []
    for k in order:
        clusters.append([k])
        while len(clusters) > 1 and _start(places, clusters[-1], gap) < _end(places, clusters[-2], gap) + gap:
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    found = list(places)
    for cluster in clusters:
        for step, k in enumerate(cluster):
            found[k] = _start(places, cluster, gap) + step * gap
    return found


def _start(places: Sequence[float], cluster: Sequence[int], gap: float) -> float:
    return sum(places[k] for k in cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _end(places: Sequence[float], cluster: Sequence[int], gap: float) -> float:
    return _start(places, cluster, gap) + gap * (len(cluster) - 1)


def _mark(place: int, point: Point, best: bool, concept: str, at: tuple[float, Any]) -> Markup:
    x, down = at
    value, low, high = point.harm[concept]
    radius = _radius(point)
    tip = f"{point.arm or 'plain'}: {number(value)} ({number(low)} to {number(high)}), cost {point.cost:.2f}"
    circle = {"cx": f"{x:.1f}", "cy": f"{down(value):.1f}", "r": f"{radius:.1f}", "stroke": "currentColor"}
    fill = {"fill": "currentColor", "fill-opacity": "0.75"} if best else {"fill": "none"}
    bar = {"x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": f"{down(low):.1f}", "y2": f"{down(high):.1f}"}
    return el(
        "g",
        None,
        el("title", None, tip),
        el("line", {**bar, "stroke": "currentColor", "stroke-opacity": "0.5"}),
        el("circle", {**circle, **fill}),
        _text(x + radius + 4, down(value) + 4, str(place), "start"),
    )


def _radius(point: Point) -> float:
    return 5 * math.sqrt(max(point.cost, 0.2))


def _axes(title: str, ticks: Sequence[tuple[float, str]]) -> list[Markup]:
    found = [
        el("line", {"x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": f"{y:.1f}", "y2": f"{y:.1f}", "stroke": "currentColor",
                    "stroke-opacity": "0.15"})
        for y, _ in ticks
    ]  # fmt: skip
    found += [_text(_LEFT - 8, y + 4, text, "end") for y, text in ticks]
    return [*found, _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, "content kept", "middle")]


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "font-size": 12, "fill": "currentColor", "text-anchor": anchor}
    return el("text", place, text)
