"""For every estimate, exactly the pictures behind it: what a click on a number opens."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from ..records import Estimate
from .data import Picture, RunView
from .words import count, hits, interval_text, metric_of, plain, role_of, sample_size, shown, value_text


@dataclasses.dataclass(frozen=True)
class Group:
    """Pictures that a panel lists together; `kind` tells the counted ones from the others."""

    title: str
    kind: Literal["counted", "abstained", "invalid"]
    pictures: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Panel:
    """What stands behind one number. `place` is the element that shows its pictures where scripts are off."""

    identifier: str
    title: str
    number: str
    note: str
    concept: str | None
    groups: tuple[Group, ...]

    @property
    def counted(self) -> tuple[int, ...]:
        """Numbers of the pictures that the estimate counts."""
        return tuple(number for group in self.groups if group.kind == "counted" for number in group.pictures)


def make_panels(view: RunView) -> dict[Estimate, Panel]:
    """One panel per estimate, in the order of the result."""
    by_row: dict[tuple[str, str], list[Picture]] = {}
    by_role: dict[str, list[Picture]] = {}
    categories = {row: names for one in view.reading.prompts for row, names in one.categories.items()}
    for p in view.pictures:
        role = view.reading.role(p.prompt_set)
        by_role.setdefault(role, []).append(p)
        by_row.setdefault((role, p.row), []).append(p)
    panels: dict[Estimate, Panel] = {}
    for estimate in dict.fromkeys(view.reading.estimates):
        role = role_of(estimate.metric)
        if role == "association":
            candidates = [p for p in by_role.get(role, ()) if _names_group(p, estimate)]
        elif estimate.prompt is not None:
            candidates = by_row.get((role, estimate.prompt), [])
        else:
            candidates = by_role.get(role, [])
        if estimate.metric.startswith("category:"):
            candidates = [p for p in candidates if estimate.class_name in categories.get(p.row, ())]
        panels[estimate] = _panel(view, estimate, _behind(candidates, estimate), f"n{len(panels)}")
    return panels


def panels_json(panels: Iterable[Panel]) -> dict[str, Any]:
    """Panels for the page's script; equal lists of pictures are written once."""
    sets: dict[tuple[Group, ...], int] = {}
    entries = {}
    for panel in panels:
        position = sets.setdefault(panel.groups, len(sets))
        entries[panel.identifier] = [panel.title, panel.number, panel.note, panel.concept, position]
    groups = [[[g.title, g.kind, list(g.pictures)] for g in groups] for groups in sets]
    return {"panels": entries, "sets": groups}


def pictures_json(view: RunView, embedded: Mapping[int, str | None]) -> list[list[Any]]:
    """Each picture for the page's script: row, index, seed, prompt, assigned class, file, embedded, verdicts.

    Seeds are text, because a script's numbers hold 53 bits only.
    """
    rows = []
    listed = {concept.name for concept in view.reading.concepts}
    for p in view.pictures:
        verdicts = {}
        for name, verdict in p.verdicts.items():
            probabilities = [round(q, 4) for q in verdict.probabilities]
            # a question over many rows ("which occupation?") keeps the largest only
            some = probabilities if name in listed else probabilities and [max(probabilities)]
            verdicts[name] = [verdict.label, some, verdict.reason]
        veiled = int(p.veiled(view.reading.concepts))
        shown_here = 1 if embedded.get(p.number) is not None else 0
        rows.append([p.row, p.index, str(p.seed), p.prompt, p.assigned, p.file, shown_here, veiled, verdicts])
    return rows


def _names_group(picture: Picture, estimate: Estimate) -> bool:
    """Whether a picture of an association is of the estimate's groups, and of its row where it has one."""
    group = str(estimate.concept).partition(":")[0]
    mine = estimate.prompt is None or picture.row.startswith(f"{estimate.prompt}, ")
    return mine and picture.prompt_set.startswith(f"{group}:")


def _panel(view: RunView, estimate: Estimate, pictures: Sequence[Picture], identifier: str) -> Panel:
    concept = _verdict_of(estimate)
    apart = estimate.prompt is None or role_of(estimate.metric) != "main"
    if estimate.metric == "refusal_rate":
        groups = _refusals(pictures)
    else:
        groups = _by_row(pictures, concept) if apart else _by_label(view, pictures, estimate)
    number = f"{value_text(estimate)} ({interval_text(estimate)}; {sample_size(estimate)})"
    if estimate.value is None:
        number = f"{value_text(estimate)} ({interval_text(estimate)})"
    return Panel(identifier, _title(estimate), number, _note(estimate, groups), concept, groups)


def _behind(candidates: Iterable[Picture], estimate: Estimate) -> list[Picture]:
    """The pictures that went into an estimate, judged or not."""
    arms = {estimate.intervention} if estimate.kind == "level" else {None, estimate.intervention}
    if estimate.metric == "refusal_rate":
        return [p for p in candidates if p.prompt_set == estimate.concept]
    asked, assigned = _verdict_of(estimate), estimate.class_name if estimate.metric.endswith("success") else None
    return [
        p
        for p in candidates
        if p.arm in arms and (asked is None or asked in p.verdicts) and (assigned is None or p.assigned == assigned)
    ]


def _verdict_of(estimate: Estimate) -> str | None:
    """The concept that the judge was asked about; that of an association stands behind its groups."""
    if role_of(estimate.metric) != "association":
        return estimate.concept
    _, sign, attribute = str(estimate.concept).partition(":")
    return attribute if sign and estimate.metric.removeprefix("change:") in ("presence", "association") else None


def _state(picture: Picture, concept: str | None) -> Literal["counted", "abstained", "invalid"]:
    if not picture.valid:
        return "invalid"
    return "counted" if concept is None or picture.label(concept) is not None else "abstained"


def _others(pictures: Sequence[Picture], concept: str | None) -> list[Group]:
    left: list[Group] = []
    refused = tuple(p.number for p in pictures if p.refused)
    pictures = [p for p in pictures if not p.refused]
    if refused:
        left.append(Group("not counted: refused by the endpoint", "invalid", refused))
    abstained = tuple(p.number for p in pictures if _state(p, concept) == "abstained")
    invalid = tuple(p.number for p in pictures if _state(p, concept) == "invalid")
    if abstained:
        left.append(Group("not counted: the judge abstained", "abstained", abstained))
    if invalid:
        left.append(Group("not counted: the model gave no picture (NaN or infinity)", "invalid", invalid))
    return left


def _refusals(pictures: Sequence[Picture]) -> tuple[Group, ...]:
    """Every request counts, refused ones first."""
    parts = {"refused": [p.number for p in pictures if p.refused]}
    parts["answered"] = [p.number for p in pictures if not p.refused]
    return tuple(Group(title, "counted", tuple(numbers)) for title, numbers in parts.items() if numbers)


def _by_label(view: RunView, pictures: Sequence[Picture], estimate: Estimate) -> tuple[Group, ...]:
    """One group per perceived class; the class that the number is about comes first."""
    groups, concept = [], estimate.concept
    if concept is None:
        groups.append(Group("counted", "counted", tuple(p.number for p in pictures if p.valid)))
    else:
        known = next((c for c in view.reading.concepts if c.name == concept), None)
        wanted = estimate.prompt if known is None else known.unsafe_class  # which row does it show? its own
        order = (estimate.class_name or wanted, *(known.classes if known else ()))
        for label in dict.fromkeys([*order, *(p.label(concept) for p in pictures)]):
            chosen = tuple(p.number for p in pictures if p.valid and p.label(concept) == label)
            if chosen and label is not None:
                groups.append(Group(f"perceived {plain(label)}", "counted", chosen))
    return (*groups, *_others(pictures, concept))


def _by_row(pictures: Sequence[Picture], concept: str | None) -> tuple[Group, ...]:
    rows: dict[str, list[int]] = {}
    for p in pictures:
        if _state(p, concept) == "counted":
            rows.setdefault(p.row, []).append(p.number)
    return (*(Group(plain(row), "counted", tuple(n)) for row, n in rows.items()), *_others(pictures, concept))


def _title(estimate: Estimate) -> str:
    """ "Share: female, nurse"."""
    metric = metric_of(estimate.metric)
    of = estimate.concept if estimate.class_name is None else estimate.class_name
    parts = [None if estimate.metric == "unsafe_rate" else of, estimate.prompt, estimate.intervention]
    name = ", ".join(plain(part) for part in parts if part is not None)
    return f"{metric.title.capitalize()}: {name}" if name else metric.title.capitalize()


def _note(estimate: Estimate, groups: Sequence[Group]) -> str:
    n = sum(len(group.pictures) for group in groups if group.kind == "counted")
    k = hits(estimate)
    parts = [metric_of(estimate.metric).meaning.partition(";")[0]]
    if k is not None and estimate.n:
        parts.append(f"{shown(estimate.metric, estimate.value or 0.0)} is {k:,} of {count(estimate.n, 'picture')}")
    if n != estimate.n:
        parts.append(f"the result counts {estimate.n:,}, the files of this run hold {n:,}")
    elif k is None:
        parts.append(f"{count(n, 'picture')} counted")
    return "; ".join(part for part in parts if part)
