"""The grids: every prompt row's pictures with prompt, seed and what was perceived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .data import Picture, RunView
from .markup import Markup, el
from .words import count, percent, plain

Place = tuple[str | None, str, str]
"""Arm, prompt set and row of a grid."""


def choose_embedded(view: RunView, per_row: int) -> dict[int, str]:
    """Numbers and files of the pictures to embed: the first `per_row` of every arm, prompt set and row."""
    chosen: dict[int, str] = {}
    used: dict[Place, int] = {}
    for p in sorted(view.pictures, key=lambda p: (p.index, p.number)):
        place = (p.arm, p.prompt_set, p.row)
        if p.file is not None and used.get(place, 0) < per_row:
            used[place] = used.get(place, 0) + 1
            chosen[p.number] = p.file
    return chosen


def grids(view: RunView, images: Mapping[int, str | None], anchors: Mapping[Place | None, Sequence[str]]) -> Markup:
    """The section of all pictures.

    `images` maps numbers of pictures to data URIs; `anchors` maps grids (None: all of them) to the panels that
    lead there where scripts are off.
    """
    veiled = sum(p.veiled(view.reading.concepts) for p in view.pictures)
    parts: list[Markup] = []
    opened = False
    for (arm, prompt_set), rows in _arranged(view).items():
        title = plain(prompt_set) if arm is None else f"{plain(prompt_set)}, with {arm}"
        parts.append(el("h3", None, title))
        for row, pictures in rows.items():
            parts.append(_row(view, row, pictures, images, anchors.get((arm, prompt_set, row), ()), opened=not opened))
            opened = True
    toggle = None
    if veiled:
        box = el("input", {"type": "checkbox", "class": "show-all", "autocomplete": "off"})
        text = f" Show all {count(veiled, 'picture')} that may be unsafe (each can also be clicked)"
        toggle = el("label", {"class": "toggle"}, box, text)
    lead = el(
        "p",
        {"class": "soft"},
        "Everything shown here is synthetic. Labels say what the judge perceives. "
        "The page holds compressed copies; the originals lie in the run directory.",
    )
    marks = [_anchor(name) for name in anchors.get(None, ())]
    return el("section", {"id": "pictures"}, el("h2", None, "Pictures"), *marks, lead, toggle, *parts)


def _arranged(view: RunView) -> dict[tuple[str | None, str], dict[str, list[Picture]]]:
    arranged: dict[tuple[str | None, str], dict[str, list[Picture]]] = {}
    for p in view.pictures:
        arranged.setdefault((p.arm, p.prompt_set), {}).setdefault(p.row, []).append(p)
    return arranged


def _row(
    view: RunView,
    row: str,
    pictures: Sequence[Picture],
    images: Mapping[int, str | None],
    anchors: Sequence[str],
    *,
    opened: bool,
) -> Markup:
    ordered = sorted(pictures, key=lambda p: p.index)
    present = [p for p in ordered if p.number in images or p.file is None]
    rest = len(ordered) - len(present)
    figures = [picture_figure(view, p, images.get(p.number)) for p in present]
    note = None
    if rest:
        text = (
            f"{len(present):,} of {count(len(ordered), 'picture')} are embedded; the others are in the run directory."
        )
        note = el("p", {"class": "soft"}, text)
    summary = el("summary", None, el("b", None, plain(row)), el("span", {"class": "soft"}, _tally(view, ordered)))
    marks = [_anchor(name) for name in anchors]
    grid = el("div", {"class": "grid"}, *figures)
    return el("details", {"class": "pictures", "open": opened}, summary, *marks, note, grid)


def _anchor(identifier: str) -> Markup:
    return el("i", {"id": identifier, "class": "anchor"})


def _tally(view: RunView, pictures: Sequence[Picture]) -> str:
    """ "40 pictures · female 38, male 2 · abstained 1"."""
    parts = [count(len(pictures), "picture")]
    for concept in view.reading.concepts:
        judged = [p for p in pictures if concept.name in p.verdicts]
        found = {name: sum(p.label(concept.name) == name for p in judged) for name in concept.classes}
        abstained = sum(p.valid and p.label(concept.name) is None for p in judged)
        seen = [f"{plain(name)} {k}" for name, k in (found | {"abstained": abstained}).items() if k]
        if seen:
            parts.append(", ".join(seen))
    invalid = sum(not p.valid for p in pictures)
    if invalid:
        parts.append(f"invalid {invalid}")
    return " · ".join(parts)


def picture_figure(view: RunView, picture: Picture, image: str | None) -> Markup:
    """One picture with what was perceived, its prompt and its seed."""
    head = el("span", {"class": "head"}, f"#{picture.index} {picture.prompt}")
    seed = el("span", {"class": "seed"}, f"seed {picture.seed}")
    words = _perceived_words(view, picture) if picture.valid else ""
    perceived = el("span", {"class": "perceived"}, words) if words else None
    caption = el("figcaption", None, perceived, head, seed)
    return el("figure", {"id": f"i{picture.number}"}, picture_frame(view, picture, image), caption)


def picture_frame(view: RunView, picture: Picture, image: str | None) -> Markup:
    """One picture alone, blurred until clicked where it may be unsafe."""
    if not picture.valid:
        return el("div", {"class": "missing"}, "no picture: the model gave NaN or infinity")
    if image is None:
        return el("div", {"class": "missing"}, "the file is missing or broken")
    veiled = picture.veiled(view.reading.concepts)
    words = _perceived_words(view, picture) or "not judged"
    drawn = el(
        "img",
        {"src": image, "alt": f"{picture.prompt}, picture {picture.index}: {words}", "decoding": "async"},
    )
    if not veiled:
        return el("div", {"class": "frame"}, drawn)
    box = el(
        "input", {"type": "checkbox", "autocomplete": "off", "aria-label": "show this picture, which may be unsafe"}
    )
    return el("label", {"class": "frame veiled"}, box, drawn, el("span", {"class": "hint"}, "may be unsafe"))


def _perceived_words(view: RunView, picture: Picture) -> str:
    """ "perceived female 99 % · dark 95 %; abstained on age"."""
    seen, abstained = [], []
    for concept in view.reading.concepts:
        verdict = picture.verdicts.get(concept.name)
        if verdict is None:
            continue
        if verdict.label is None:
            abstained.append(plain(concept.name))
        elif verdict.label in concept.classes and len(verdict.probabilities) == len(concept.classes):
            sure = verdict.probabilities[concept.classes.index(verdict.label)]
            seen.append(f"{plain(verdict.label)} {percent(sure)}")
        else:
            seen.append(plain(verdict.label))
    parts = [f"perceived {' · '.join(seen)}"] if seen else []
    return "; ".join([*parts, f"abstained on {', '.join(abstained)}"] if abstained else parts)
