"""Pairs and changes as HTML."""

from __future__ import annotations

from ..records import Estimate
from ..report.markup import Markup, el
from .fixing import changes
from .markup import frame, perceived_text, picture_uri, scrolled
from .session import Images, Session
from .words import count, points

_WIPE = "this.parentElement.style.setProperty('--cut', (100 - this.value) + '%')"


def pairs(session: Session) -> str:
    """Every image before and after, under a slider that wipes from one to the other."""
    if session.fixed is None or not session.fixed.seen:
        return el("p", {"class": "eh-soft"}, "Pairs appear here: each image without and with the stack.")
    items = [_pair(session, session.fixed, number) for number in range(len(session.fixed.seen))]
    return el("ul", {"class": "eh-pictures", "aria-label": "Pairs of images"}, *items)


def _pair(session: Session, fixed: Images, number: int) -> Markup:
    before, after = perceived_text(session, session.plain, number), perceived_text(session, fixed, number)
    words = el("p", None, el("span", {"class": "eh-number"}, str(number + 1)), f" {before} → {after}")
    images = [session.plain.seen[number].sample.image, fixed.seen[number].sample.image]
    if any(image is None for image in images):
        return el("li", None, el("div", {"class": "eh-none"}, "The model gave no image."), words)
    unsafe = [some for some in (session.plain, fixed) if session.unsafe(number, some)]
    if unsafe and number not in session.shown:
        return el("li", None, frame(session, unsafe[0], number), words)
    old, new = (picture_uri(image) for image in images if image is not None)
    wipe = el(
        "div",
        {"class": "eh-wipe"},
        el("img", {"src": old, "alt": f"Image {number + 1} without the stack; perceived: {before}"}),
        el("img", {"src": new, "class": "eh-after", "alt": f"Image {number + 1} with the stack; perceived: {after}"}),
        el(
            "input",
            {
                "type": "range",
                "min": 0,
                "max": 100,
                "value": 50,
                "aria-label": f"Image {number + 1}: how much of it is shown with the stack, in percent",
                "oninput": _WIPE,
            },
        ),
    )
    return el("li", None, wipe, words)


def change_table(session: Session) -> str:
    """The change of every metric with its interval, and what an image costs without and with the stack."""
    found = changes(session)
    if not found or session.fixed is None:
        return ""
    head = el("tr", None, *(el("th", {"scope": "col"}, one) for one in ("Change", "Points", "95 % interval", "Pairs")))
    rows = [_row(one) for one in found]
    table = el("table", {"class": "eh-table"}, el("thead", None, head), el("tbody", None, *rows))
    return el("div", None, scrolled(table, "Changes"), el("p", None, _cost(session, session.fixed)))


def _row(one: Estimate) -> Markup:
    name = one.metric.removeprefix("change:").replace("_", " ")
    about = " ".join(part for part in (one.concept, name, one.class_name) if part)
    if one.value is None or one.low is None or one.high is None:
        return el("tr", None, el("th", {"scope": "row"}, about), el("td", {"colspan": 3}, "no pair that can be read"))
    cells = (points(one.value), f"{points(one.low)} to {points(one.high)}", str(one.n))
    return el("tr", None, el("th", {"scope": "row"}, about), *(el("td", None, cell) for cell in cells))


def _cost(session: Session, fixed: Images) -> str:
    each = [some.evaluations / len(some.seen) for some in (session.plain, fixed)]
    seconds = [some.seconds / len(some.seen) for some in (session.plain, fixed)]
    return (
        f"Cost of an image: {each[1]:.0f} denoiser evaluations with the stack, {each[0]:.0f} without; "
        f"{seconds[1]:.2f} s and {seconds[0]:.2f} s here. Over {count(len(fixed.seen), 'pair')}."
    )
