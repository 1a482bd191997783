"""What several judges, or people, say of the judging itself: where a panel abstains, and where labels differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .data import RunView
from .markup import Markup, el
from .words import NOTHING, count, percent, plain


def judges_section(view: RunView) -> Markup | None:
    """The section, or None where one judge read the pictures and nobody labelled any."""
    panel, labels = view.result.get("panel"), view.result.get("labels")
    if not panel and not labels:
        return None
    parts = [*(_panel(panel) if panel else ()), *(_labels(view, labels) if labels else ())]
    return el("section", {"id": "judges"}, el("h2", None, "How far the judging can be trusted"), *parts)


def _panel(panel: Mapping[str, Any]) -> list[Markup]:
    rows = []
    for name, found in panel["concepts"].items():
        for one in found["abstentions"]:
            rate = NOTHING if one["value"] is None else percent(one["value"])
            interval = NOTHING if one["low"] is None else f"{percent(one['low'])} to {percent(one['high'])}"
            rows.append((plain(name), plain(one["class"]), one["judge"], rate, interval, f"{one['n']:,}"))
    apart = "; ".join(
        f"{plain(name)}: {found['disagreed']:,} of {count(found['images'], 'picture')}"
        for name, found in panel["concepts"].items()
    )
    heads = ("concept", "others perceive", "judge", "abstains", "95\u00a0% interval", "n")
    return [
        el("h3", None, f"A panel of {len(panel['judges'])}: {', '.join(panel['judges'])}"),
        el(
            "p",
            None,
            "The panel says what more than half of its members say, and abstains otherwise. Members gave different "
            f"labels to: {apart}.",
        ),
        el("p", None, "A judge that abstains on one group more than on another makes their shares look different:"),
        _table("abstentions by group", heads, rows),
    ]


def _labels(view: RunView, labels: Mapping[str, Any]) -> list[Markup]:
    classes = {concept.name: concept.classes for concept in view.reading.concepts}
    parts = [
        el("h3", None, f"Human labels: {labels['file']}"),
        el(
            "p",
            None,
            "Figures that are called calibrated use the readings of all pictures and the labels of a random sample: "
            "they hold whatever the judge's errors are.",
        ),
    ]
    for name, found in labels["concepts"].items():
        answers = [*(plain(one) for one in classes.get(name, ())), "abstained"]
        truths = [*answers[:-1], "shows none"]
        rows = [
            (truth, *(str(one) for one in row))
            for truth, row in zip(truths, [*found["matrix"], found["shows_none"]], strict=True)
        ]
        parts.append(el("p", {"class": "soft"}, f"{plain(name).capitalize()}, {count(found['labels'], 'label')}:"))
        parts.append(_table(f"labels of {plain(name)}", ("people / judge", *answers), rows))
    return parts


def _table(label: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    top = el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, head) for head in heads)))
    body = el("tbody", None, *(el("tr", None, *(el("td", None, cell) for cell in row)) for row in rows))
    table = el("table", None, top, body)
    return el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": label}, table)
