"""The parts of the page that show numbers: the head, each concept, and every estimate in a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..records import Estimate
from .categories import category_table
from .data import RunView
from .depiction import depicted
from .markup import Markup, el, join
from .panels import Panel
from .plots import Mark, PlotRow, decision_badge, dot_plot, legend, number_link
from .reading import DECISIONS, ConceptView
from .text import headline_sentences, subject, verdict_counts
from .words import (
    HEADLINES,
    NOTHING,
    floor_text,
    interval_text,
    metric_of,
    number,
    plain,
    role_of,
    sample_size,
    undefined_reason,
)

Panels = Mapping[Estimate, Panel]


def head(view: RunView, warnings: Sequence[str]) -> Markup:
    """Headline, verdict counts, warnings and the way to the sections."""
    reading = view.reading
    (first, *rest), *others = headline_sentences(reading)
    verb = str(view.result.get("verb") or view.run.get("verb") or "audit")
    parts = [
        el("p", {"class": "eyebrow"}, f"Evenhand · {verb} of {subject(reading, reading.arms[0])}{_status(view)}"),
        el("h1", None, first),
        *(el("p", {"class": "lede"}, " ".join(sentences)) for sentences in (rest, *others) if sentences),
        _verdicts(view),
        *(el("p", {"class": "warning"}, text) for text in warnings),
    ]
    links = [(f"c-{slug(c.name)}", plain(c.name)) for c in reading.concepts]
    if depicted(view):
        links.append(("depiction", "groups"))
    if _others(view):
        links.append(("others", "other measures"))
    links += [("pictures", "pictures"), ("measured", "how it was measured"), ("cost", "cost and command")]
    parts.append(el("nav", {"aria-label": "sections"}, *(el("a", {"href": f"#{to}"}, text) for to, text in links)))
    return el("header", None, *parts)


def _status(view: RunView) -> str:
    """Whether the audit was announced; nothing for results that do not say."""
    found = view.result.get("registration")
    return f" · {found['status']}" if found else ""


def slug(name: str) -> str:
    """A name as an identifier of the page."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name)


def _verdicts(view: RunView) -> Markup | None:
    reading = view.reading
    lines = []
    for arm in reading.arms:
        for concept in reading.concepts:
            counts = verdict_counts(reading, concept, arm)
            total = sum(counts.values())
            if total:
                name = plain(concept.name) if arm is None else f"{plain(concept.name)}, {arm}"
                kinds = {d: d if counts[d] else "zero" for d in DECISIONS}
                found = [el("span", {"class": f"verdict {kind}"}, f"{counts[d]} {d}") for d, kind in kinds.items()]
                text = el("dd", None, *found, el("span", {"class": "soft"}, f"of {total} prompts"))
                lines.append(el("div", None, el("dt", None, name), text))
    return el("dl", {"class": "verdicts"}, *lines) if lines else None


def concept_section(view: RunView, concept: ConceptView, panels: Panels) -> Markup:
    """One concept: what was asked, the figures over the prompts, the plot, and every number."""
    reading = view.reading
    main = (p for p in view.pictures if concept.name in p.verdicts and reading.role(p.prompt_set) == "main")
    sets = dict.fromkeys(plain(p.prompt_set) for p in main)
    where = f", over {', '.join(sets)}" if sets else ""
    *others, last = (plain(name) for name in concept.classes)
    classes = f"{', '.join(others)} or {last}"
    parts: list[Markup | None] = [
        el("h2", None, plain(concept.name).capitalize()),
        el("p", {"class": "soft"}, f"Perceived as {classes}{where}."),
    ]
    for arm in reading.arms:
        if len(reading.arms) > 1:
            parts.append(el("h3", None, subject(reading, arm)))
        parts.append(_figures(_over_prompts(view, concept.name, arm), panels))
        parts.append(
            _safety_plot(view, concept, arm, panels)
            if concept.kind == "safety"
            else _share_plot(view, concept, arm, panels)
        )
        parts.append(category_table(view, concept, arm, panels))
    if concept.kind == "safety" and not any(
        e.metric == "over_refusal" and e.concept == concept.name for e in reading.estimates
    ):
        parts.append(el("p", {"class": "soft"}, _NO_BENIGN))
    own = [e for e in reading.estimates if e.concept == concept.name and role_of(e.metric) != "association"]
    if not own:
        parts.append(el("p", None, "The result holds no number for this concept."))
    parts.append(all_numbers(own, panels))
    return el("section", {"id": f"c-{slug(concept.name)}"}, *parts)


_NO_BENIGN = (
    "What safety costs the harmless is not measured here: the concept names no harmless look-alikes, or they were left "
    "out."
)


def other_section(view: RunView, panels: Panels) -> Markup | None:
    """Estimates that belong to no concept of the run, such as whether the pictures show what was asked for."""
    others = _others(view)
    if not others:
        return None
    over = [e for e in others if e.prompt is None and e.kind == "level" and e.scope == "these"]
    parts: list[Markup | None] = [_figures(over, panels, of=True)]
    rows = [e for e in others if e.prompt is not None and e.kind == "level" and metric_of(e.metric).percent]
    for key in dict.fromkeys((e.metric, e.concept, e.intervention) for e in rows):
        chosen = [e for e in rows if (e.metric, e.concept, e.intervention) == key]
        lines = [PlotRow(name=e.prompt or "", marks=(Mark(series=0, name=_about(e), estimate=e),)) for e in chosen]
        lines.sort(key=lambda line: line.marks[0].estimate.value or 0.0)
        title = ": ".join([metric_of(key[0]).title.capitalize(), *_whose(chosen[0])])
        plot = [legend(target=False, margin=None, fair=False)]
        plot.append(dot_plot(lines, panels, margin=None, low_end="", high_end=""))
        # the arms repeat the plain model's plot: they stay closed until somebody asks
        plain_arm = key[2] is None
        parts += (
            [el("h3", None, title), *plot] if plain_arm else [el("details", None, el("summary", None, title), *plot)]
        )
    parts.append(all_numbers(others, panels))
    asked = {e.metric for e in others} <= {"recognised", "obeyed", "refusal_rate"}
    title = "Do the pictures show what was asked for?" if asked else "What else was measured"
    return el("section", {"id": "others"}, el("h2", None, title), *parts)


def _others(view: RunView) -> list[Estimate]:
    names = {concept.name for concept in view.reading.concepts}
    return [e for e in view.reading.estimates if e.concept not in names and role_of(e.metric) != "association"]


def _over_prompts(view: RunView, concept: str, arm: str | None) -> list[Estimate]:
    reading = view.reading
    return [e for metric in HEADLINES for e in reading.level(metric, concept, arm, rows=False)]


def _figures(estimates: Iterable[Estimate], panels: Panels, *, of: bool = False) -> Markup | None:
    """A card per estimate; with `of`, its title says which prompts and which arm it is about."""
    cards = []
    for e in estimates:
        metric = metric_of(e.metric)
        apart = e.class_name is not None and not e.metric.endswith("unsafe_rate")  # a rate says what it is of
        title = f"mean {metric.title}" if e.metric == "deviation_ratio" else metric.title
        name = f"{title}, {plain(e.class_name or '')}" if apart else title
        name = ": ".join([name, *_whose(e)]) if of else name
        interval = undefined_reason(e) if e.value is None else f"95\u00a0% interval {interval_text(e)}"
        if e.value is not None:
            interval += f" · {sample_size(e)}"
        floor = floor_text(e)
        notes = [el("p", {"class": "floor"}, f"{floor[0].upper()}{floor[1:]}.") if floor else None]
        if metric.meaning:
            notes.append(el("p", {"class": "soft"}, f"{metric.meaning[0].upper()}{metric.meaning[1:]}."))
        big = el("p", {"class": "big"}, number_link(e, panels), el("span", {"class": "ci"}, interval))
        cards.append(el("div", {"class": "figure"}, el("h4", None, name.capitalize()), big, *notes))
    return el("div", {"class": "figures"}, *cards) if cards else None


def _share_plot(view: RunView, concept: ConceptView, arm: str | None, panels: Panels) -> Markup | None:
    """Two classes: the share of the first one, sorted. More: a lane per class, most skewed row first."""
    reading = view.reading
    two = len(concept.classes) == 2
    targets = dict(zip(concept.classes, concept.target, strict=True))
    series = {name: i for i, name in enumerate(concept.classes)}
    floors = {e.prompt: e.floor for e in reading.level("deviation_ratio", concept.name, arm, rows=True)}
    marks: dict[str, list[Mark]] = {}
    for e in reading.level("share", concept.name, arm, rows=True):
        name, row = e.class_name or "", e.prompt or ""
        if name not in series or (two and series[name] > 0):
            continue
        floor = floors.get(row)
        fair = None if floor is None else floor[1] * (1 - min(concept.target))
        mark = Mark(series=series[name], name=plain(name), estimate=e, target=targets[name], fair=fair)
        marks.setdefault(row, []).append(mark)
    if not marks:
        return None
    decisions = reading.row_decisions(concept.name, arm)
    rows = [PlotRow(name=row, marks=tuple(m), decision=decisions.get(row)) for row, m in marks.items()]
    rows.sort(key=lambda row: -_skew(row, two))
    fair = any(mark.fair is not None for row in rows for mark in row.marks)
    first, last = plain(concept.classes[0]), plain(concept.classes[-1])
    ends = (f"all {last}", f"all {first}") if two else ("", "")
    key = legend(target=True, margin=reading.margin, fair=fair, series=() if two else concept.classes)
    title = el("h3", None, f"Share perceived as {first}, per prompt" if two else "Shares per prompt, most skewed first")
    return join([title, key, dot_plot(rows, panels, margin=reading.margin, low_end=ends[0], high_end=ends[1])])


def _skew(row: PlotRow, two: bool) -> float:
    values = [(mark.estimate.value, mark.target or 0.0) for mark in row.marks]
    known = [value - (0.0 if two else target) for value, target in values if value is not None]
    return max(known, default=-2.0)


def _safety_plot(view: RunView, concept: ConceptView, arm: str | None, panels: Panels) -> Markup | None:
    estimates = view.reading.level("unsafe_rate", concept.name, arm, rows=True)
    if not estimates:
        return None
    name = plain(concept.unsafe_class or concept.name)
    rows = [
        PlotRow(name=e.prompt or "", marks=(Mark(series=1, name=name, estimate=e),), decision=e.decision)
        for e in estimates
    ]
    rows.sort(key=lambda row: -_skew(row, True))
    title = el("h3", None, f"Pictures perceived as {name}, per prompt")
    key = legend(target=False, margin=None, fair=False)
    return join([title, key, dot_plot(rows, panels, margin=None, low_end="", high_end="")])


def all_numbers(estimates: Sequence[Estimate], panels: Panels) -> Markup | None:
    """Every estimate in one table, closed at first."""
    if not estimates:
        return None
    names = (
        "measure",
        "prompt",
        "class",
        "value",
        "95\u00a0% interval",
        "n",
        "abstained",
        "fair floor",
        "allocation",
        "verdict",
    )
    heads = el("tr", None, *(el("th", {"scope": "col"}, name) for name in names))
    body = [_table_row(e, panels) for e in estimates]
    table = el("table", None, el("thead", None, heads), el("tbody", None, *body))
    scroll = el("div", {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": "all numbers"}, table)
    return el("details", {"class": "numbers"}, el("summary", None, f"All {len(estimates)} numbers"), scroll)


def _table_row(e: Estimate, panels: Panels) -> Markup:
    title = metric_of(e.metric).title
    if e.scope == "like-these":
        title += ", for prompts like these"
    if e.intervention is not None:
        title += f", {e.intervention}"
    floor = NOTHING if e.floor is None else f"{number(e.floor[0])} ({number(e.floor[1])} at 95\u00a0%)"
    circular = el("b", None, " circular") if e.circular else None
    cells = [
        el("th", {"scope": "row"}, title, circular),
        el("td", None, plain(e.prompt) if e.prompt is not None else "over prompts"),
        el("td", None, plain(e.class_name) if e.class_name else NOTHING),
        el("td", {"class": "right"}, number_link(e, panels)),
        el("td", None, interval_text(e)),
        el("td", None, sample_size(e).removeprefix("n\u00a0= ")),
        el("td", {"class": "right"}, str(e.abstained)),
        el("td", None, floor),
        el("td", None, {"iid": "i.i.d.", "stratified": "stratified"}.get(e.allocation or "", NOTHING)),
        el("td", None, decision_badge(e.decision) if e.decision else NOTHING),
    ]
    return el("tr", None, *cells)


def _whose(e: Estimate) -> list[str]:
    """Of which prompts and under which arm an estimate is."""
    return [plain(part) for part in (e.concept, e.intervention) if part is not None]


def _about(e: Estimate) -> str:
    return plain(e.class_name or e.concept or e.metric)
