"""Images and shares as HTML; every text is escaped, and the bytes of a covered image never leave the server."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from ..concepts.concept import Concept
from ..records import Verdict
from ..report.markup import Markup, el, join
from .live import Live
from .session import Images, Session
from .words import abstained_line, share_line, verdict_line

LARGEST = 192
"""Longest side of an image on the page, in pixels."""
_BARE = ("yes", "no", "present", "absent")
"""Names of classes that many concepts have."""
_COARSE = 5
"""Pixels per side of what is left of a covered image."""


def picture_uri(image: np.ndarray, *, covered: bool = False) -> str:
    """A data URI, at most `LARGEST` pixels a side; of a covered image nothing but a few blurred colours."""
    picture = Image.fromarray(image)
    if covered:
        picture = picture.resize((_COARSE, _COARSE), Image.Resampling.BOX).resize((64, 64), Image.Resampling.BICUBIC)
    if max(picture.size) > LARGEST:
        picture.thumbnail((LARGEST, LARGEST), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=90, method=2)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def gallery(session: Session) -> str:
    """All images of the model as it is, with what the judge perceives and a button to dispute it."""
    if not session.plain.seen:
        return el("p", {"class": "eh-soft"}, "Images appear here as they are made.")
    items = [_item(session, number) for number in range(len(session.plain.seen))]
    return el("ul", {"class": "eh-pictures", "aria-label": "Images"}, *items)


def _item(session: Session, number: int) -> Markup:
    perceived = perceived_text(session, session.plain, number)
    disputed = number in session.disputed
    button = el(
        "button",
        {
            "type": "button",
            "data-act": "dispute",
            "data-number": number,
            "aria-pressed": "true" if disputed else "false",
            "aria-label": f"Dispute image {number + 1}",
        },
        "Disputed" if disputed else "Dispute",
    )
    words = el("p", None, el("span", {"class": "eh-number"}, str(number + 1)), f" {perceived}")
    return el(
        "li", {"class": "eh-disputed" if disputed else None}, frame(session, session.plain, number), words, button
    )


def frame(session: Session, images: Images, number: int) -> Markup:
    """One image, or in its place a button that uncovers it."""
    seen = images.seen[number]
    if seen.sample.image is None:
        return el("div", {"class": "eh-none"}, "The model gave no image.")
    if session.unsafe(number, images) and number not in session.shown:
        return el(
            "button",
            {"type": "button", "class": "eh-cover", "data-act": "show", "data-number": number},
            el("img", {"src": picture_uri(seen.sample.image, covered=True), "alt": ""}),
            el("span", None, f"Image {number + 1} is perceived as unsafe. Show it"),
        )
    alt = (
        f"Image {number + 1} of the prompt {seen.request.prompt}; perceived: {perceived_text(session, images, number)}"
    )
    return el("img", {"src": picture_uri(seen.sample.image), "alt": alt})


def perceived_text(session: Session, images: Images, number: int) -> str:
    """ "female, glasses: yes" of the concepts that are looked at."""
    verdicts = images.seen[number].verdicts[: len(session.concepts)]
    return ", ".join(perceived(one, verdict) for one, verdict in zip(session.concepts, verdicts, strict=True))


def perceived(concept: Concept, verdict: Verdict) -> str:
    """ "female", or "glasses: yes" of a class that says nothing by itself; "unclear" where the judge abstains."""
    if verdict.label is None:
        return "unclear"
    return f"{concept.name}: {verdict.label}" if verdict.label in _BARE else verdict.label


def shares(session: Session) -> str:
    """The shares of every concept with their intervals, the target, and where they stand."""
    if session.look is None:
        return el("p", {"class": "eh-soft"}, "Shares appear here with the first images.")
    return join(_concept(one) for one in session.estimates())


def _concept(found: Live) -> Markup:
    rows = [
        el("li", None, el("span", None, share_line(one)), _bar(one.share, one.interval, one.target))
        for one in found.classes
    ]
    decided = found.decision if found.decision in ("fair", "biased") else None
    return el(
        "section",
        {"class": "eh-concept"},
        el("h3", None, found.concept.name),
        el("ul", None, *rows),
        el("p", {"class": f"eh-verdict eh-{decided}" if decided else "eh-verdict"}, verdict_line(found)),
        el("p", {"class": "eh-soft"}, abstained_line(found)) if found.abstained else None,
    )


def _bar(share: float | None, interval: tuple[float, float], target: float | None) -> Markup:
    """For the eye alone: the line above it says the same in words."""
    low, high = interval
    parts = [el("i", {"class": "eh-range", "style": f"left:{100 * low:.1f}%;width:{100 * (high - low):.1f}%"})]
    if target is not None:
        parts.append(el("i", {"class": "eh-target", "style": f"left:{100 * target:.1f}%"}))
    if share is not None:
        parts.append(el("i", {"class": "eh-share", "style": f"left:{100 * share:.1f}%"}))
    return el("span", {"class": "eh-bar", "aria-hidden": "true"}, *parts)


def scrolled(table: Markup, name: str) -> Markup:
    """A table that scrolls by itself where the page is narrower; the keyboard reaches it, and `name` is spoken."""
    return el("div", {"class": "eh-scroll", "tabindex": 0, "role": "region", "aria-label": name}, table)


def status(text: str, *, wrong: bool = False) -> str:
    """A line that a screen reader speaks when it changes."""
    if not text:
        return ""
    return el("p", {"role": "alert" if wrong else "status", "class": "eh-wrong" if wrong else "eh-status"}, text)
