"""The map of where a concept is decided, as a picture: sites down, steps across, darker where more is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..files import write_bytes
from .markup import Markup, el

PLOT = "decided.svg"
"""In the folder of a fit, beside its card."""

_CELL, _ROW, _LEFT, _TOP = 22, 26, 170, 58
_DARK, _LIGHT = (18, 66, 92), (244, 246, 248)


def write_decision_plots(cards: Mapping[str, Mapping[str, Any]]) -> None:
    """For each fit with a map, by folder, its picture beside the card.

    Raises: StorageError when the disk fails.
    """
    for folder, card in cards.items():
        if "decided" in card["effect"]:
            svg = decision_svg(card["effect"]["decided"], card["concept"]["name"])
            write_bytes(Path(folder) / PLOT, svg.encode())


def decision_svg(decided: Mapping[str, Any], concept: str) -> str:
    """An SVG with a cell for each site and step; the number stands in its tooltip, the largest of a site at its end.

    Args:
        decided: what `decision_map` gives.
        concept: its name, for the title.
    """
    sites: Mapping[str, Sequence[float]] = decided["sites"]
    times: Sequence[float] = decided["timesteps"]
    width, height = _LEFT + _CELL * len(times) + 60, _TOP + _ROW * len(sites) + 64
    title = f"Where {concept} is decided"
    about = (
        f"Share of what images of one prompt differ in that a linear reader finds in the activations; "
        f"{decided['images']} images, leave-one-out."
    )
    parts: list[Markup] = [
        el("title", None, title),
        el("rect", {"width": width, "height": height, "fill": "#fff"}),
        _text(12, 22, title, size=15, weight="600"),
        _text(12, 42, about, size=11, fill="#444"),
    ]
    for place, (site, scores) in enumerate(sites.items()):
        parts += _row(_TOP + _ROW * place, site, scores, times)
    bottom = _TOP + _ROW * len(sites)
    for step in range(0, len(times), max(1, len(times) // 6)):
        parts.append(_text(_LEFT + _CELL * step + 2, bottom + 16, f"{times[step]:.0f}", size=10, fill="#444"))
    parts.append(_text(_LEFT, bottom + 34, "timestep: noise at the left, the finished image at the right", size=11))
    parts += _legend(_LEFT, bottom + 44)
    box = {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {width} {height}", "role": "img"}
    return str(el("svg", {**box, "width": width, "height": height, "font-family": "system-ui, sans-serif"}, *parts))


def _row(top: int, site: str, scores: Sequence[float], times: Sequence[float]) -> list[Markup]:
    found = [_text(_LEFT - 10, top + 15, site, size=12, anchor="end")]
    for step, score in enumerate(scores):
        place = {"x": _LEFT + _CELL * step, "y": top, "width": _CELL - 1, "height": _ROW - 4}
        tip = el("title", None, f"{site} at timestep {times[step]:.0f}: {score:.2f}")
        found.append(el("rect", {**place, "fill": _colour(score)}, tip))
    found.append(_text(_LEFT + _CELL * len(scores) + 8, top + 15, f"{max(scores):.2f}", size=11))
    return found


def _legend(left: int, top: int) -> list[Markup]:
    cells = [
        el("rect", {"x": left + 24 + 16 * k, "y": top, "width": 16, "height": 10, "fill": _colour(k / 10)})
        for k in range(11)
    ]
    return [_text(left, top + 9, "0", size=10), *cells, _text(left + 24 + 16 * 11 + 6, top + 9, "1", size=10)]


def _colour(share: float) -> str:
    mixed = (
        round(light + (dark - light) * min(1.0, max(0.0, share))) for light, dark in zip(_LIGHT, _DARK, strict=True)
    )
    return f"rgb({','.join(str(one) for one in mixed)})"


def _text(
    x: int, y: int, text: str, *, size: int, fill: str = "#111", weight: str = "400", anchor: str = "start"
) -> Markup:
    place = {"x": x, "y": y, "font-size": size, "fill": fill, "font-weight": weight, "text-anchor": anchor}
    return el("text", place, text)
