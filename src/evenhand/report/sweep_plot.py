"""What an adapter does at several weights, as a picture: the shares it is for, and what it costs in content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_bytes
from .markup import Markup, el

PLOT = "sweep.svg"
"""In the folder of a fit, beside its card."""

_WIDTH, _HEIGHT, _LEFT, _TOP, _BELOW = 560, 300, 56, 64, 116
_LINES = (
    ("deviation", "deviation from the target", "#124259", "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z"),
    ("unsafe_rate", "unsafe images", "#124259", "M-5,0A5,5 0 1 0 5,0A5,5 0 1 0 -5,0Z"),
    ("recognised", "shows its prompt", "#2b7a3d", "M0,-6L6,0L0,6L-6,0Z"),
    ("specific_drop", "named classes obeyed less", "#b35900", "M0,-6L6,5L-6,5Z"),
    ("text_drop", "loss of text-image score", "#7a2b6e", "M-5,-5H5V5H-5Z"),
    ("mmd", "discrepancy from plain images", "#8a6d00", "M0,6L6,-5L-6,-5Z"),
    ("drift", "drift of other prompts", "#555555", "M-2,-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z"),
)
"""Figure, its name, colour and marker; no line is told by its colour alone."""


def write_sweep_plots(cards: Mapping[str, Mapping[str, Any]]) -> None:
    """For each fit with a sweep, by folder, its picture beside the card.

    Raises: StorageError when the disk fails.
    """
    for folder, card in cards.items():
        if card["effect"].get("sweep"):
            svg = sweep_svg(card["effect"]["sweep"], card["concept"]["name"])
            write_bytes(Path(folder) / PLOT, svg.encode())


def sweep_svg(sweep: Sequence[Mapping[str, Any]], concept: str) -> str:
    """An SVG with a line for each figure over the weight of the adapter, and 95 % intervals.

    Args:
        sweep: for each weight its figures, [value, low, high]; what lies outside 0 and 1 is drawn at the edge, and the
            tooltip has the number.
        concept: its name, for the title.
    """
    shown = [line for line in _LINES if any(line[0] in one for one in sweep)]
    width, height = _LEFT + _WIDTH + 30, _TOP + _HEIGHT + _BELOW
    title = f"{concept} and content by weight of the adapter"
    images = sweep[0]["images"]
    about = f"{images} images at each weight, on the same seeds, read by the fit judge; 95 % intervals."
    parts: list[Markup] = [
        el("title", None, title),
        el("rect", {"width": width, "height": height, "fill": "#fff"}),
        _text(12, 24, title, size=15, weight="600"),
        _text(12, 44, about, size=11, fill="#444"),
        *_axes(sweep),
    ]
    for place, line in enumerate(shown):
        parts += _line(line, place, sweep)
        parts += _key(line, place)
    box = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}", "role": "img"}
    return str(el("svg", {**box, "width": width, "height": height, "font-family": "system-ui, sans-serif"}, *parts))


def _axes(sweep: Sequence[Mapping[str, Any]]) -> list[Markup]:
    parts = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = _y(tick)
        parts.append(el("line", {"x1": _LEFT, "x2": _LEFT + _WIDTH, "y1": y, "y2": y, "stroke": "#ddd"}))
        parts.append(_text(_LEFT - 10, y + 4, f"{tick:g}", size=11, anchor="end"))
    for one in sweep:
        parts.append(
            _text(_x(sweep, one["weight"]), _TOP + _HEIGHT + 18, f"{one['weight']:g}", size=11, anchor="middle")
        )
    about = "weight: 0 is the plain model, 1 the adapter as it was trained"
    return [*parts, _text(_LEFT, _TOP + _HEIGHT + 36, about, size=11, fill="#444")]


def _line(line: tuple[str, str, str, str], place: int, sweep: Sequence[Mapping[str, Any]]) -> list[Markup]:
    name, words, colour, marker = line
    points = [one for one in sweep if name in one]
    shift = 3 * place  # so that intervals do not lie on each other
    path = "M" + "L".join(f"{_x(sweep, one['weight']) + shift:.1f},{_y(one[name][0]):.1f}" for one in points)
    parts = [el("path", {"d": path, "fill": "none", "stroke": colour, "stroke-width": 1.5})]
    for one in points:
        value, low, high = one[name]
        x = _x(sweep, one["weight"]) + shift
        tip = el("title", None, f"{words} at weight {one['weight']:g}: {value:.3f} ({low:.3f} to {high:.3f})")
        bar = {"x1": f"{x:.1f}", "x2": f"{x:.1f}", "y1": f"{_y(low):.1f}", "y2": f"{_y(high):.1f}", "stroke": colour}
        parts.append(el("line", bar))
        move = f"translate({x:.1f},{_y(value):.1f})"
        parts.append(el("path", {"d": marker, "transform": move, "fill": colour}, tip))
    return parts


def _key(line: tuple[str, str, str, str], place: int) -> list[Markup]:
    _, words, colour, marker = line
    x, y = _LEFT + 6 + 200 * (place % 3), _TOP + _HEIGHT + 60 + 22 * (place // 3)
    return [
        el("path", {"d": marker, "transform": f"translate({x},{y})", "fill": colour}),
        _text(x + 12, y + 4, words, size=11),
    ]


def _x(sweep: Sequence[Mapping[str, Any]], weight: float) -> float:
    most = max(one["weight"] for one in sweep) or 1.0
    return _LEFT + 12 + (_WIDTH - 48) * weight / most


def _y(value: float) -> float:
    return _TOP + _HEIGHT * (1 - min(1.0, max(0.0, value)))


def _text(
    x: float, y: float, text: str, *, size: int, fill: str = "#111", weight: str = "400", anchor: str = "start"
) -> Markup:
    place = {"x": x, "y": y, "font-size": size, "fill": fill, "font-weight": weight, "text-anchor": anchor}
    return el("text", place, text)
