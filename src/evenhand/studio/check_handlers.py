"""What the events of the page Check do to a session."""

from __future__ import annotations

from collections.abc import Callable

from ..report.markup import el
from . import markup
from .bench import Bench
from .checking import begin_check, corrected
from .label_queue import Check
from .session import Session
from .takeaway import write_labelled_run
from .words import count, percent, plain_words

Asked = tuple[str, str]
"""The image that is asked about, and a status."""


class CheckHandlers:
    """The events of the page Check.

    Args:
        bench: the model that all tabs share.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def begin(self, session: Session, concept: str | None, images: float | None) -> Asked:
        """Draw a queue; labels of an earlier one are dropped."""

        def work() -> str:
            session.check = begin_check(session, concept or "", int(images or 0))
            return f"{count(len(session.check.queue), 'image')} to label. What the judge perceives is hidden."

        return self._safely(session, work)

    def answer(self, session: Session, label: str) -> Asked:
        """A label for the image that is shown."""

        def work() -> str:
            if session.check is None:
                return "Draw a queue first."
            session.check.answer(label)
            return self._progress(session.check)

        return self._safely(session, work)

    def back(self, session: Session) -> Asked:
        """Take the latest label back."""

        def work() -> str:
            if session.check is None:
                return "Draw a queue first."
            session.check.back()
            return self._progress(session.check)

        return self._safely(session, work)

    def show(self, session: Session, number: int) -> Asked:
        """Uncover the image."""
        session.show(number)
        return self._safely(session, lambda: self._progress(session.check) if session.check else "")

    def choices(self, session: Session) -> list[str]:
        """The concepts that can be checked."""
        return [one.name for one in session.concepts]

    def sheet(self, session: Session) -> tuple[str, str]:
        """The command that states the corrected shares from the stored labels, and a status."""
        try:
            check = session.check
            if check is None:
                return "", markup.status("Draw a queue first.")
            report, line = self._bench.do(lambda: write_labelled_run(session, self._bench, check))
            return line, markup.status(f"The labels are in {report.parent / 'labels.csv'}, the report beside them.")
        except Exception as error:
            return "", markup.status(plain_words(error), wrong=True)

    def _progress(self, check: Check) -> str:
        return f"{len(check.answers)} of {count(len(check.queue), 'image')} labelled."

    def _safely(self, session: Session, work: Callable[[], str]) -> Asked:
        try:
            said = work()
            return asked(session), markup.status(said)
        except Exception as error:
            return asked(session), markup.status(plain_words(error), wrong=True)


def asked(session: Session) -> str:
    """The image that is asked about, without what the judge perceives; at the end the corrected shares."""
    check = session.check
    if check is None:
        return el("p", {"class": "eh-soft"}, "Draw a queue: images then come one by one.")
    number = check.current
    if number is None:
        return _result(session, check)
    image = session.plain.seen[number].sample.image
    # of a safety concept every image is covered: covering the unsafe ones alone would tell the verdict
    covered = (check.concept.kind == "safety" or session.unsafe(number)) and number not in session.shown
    if image is None:
        shown = el("div", {"class": "eh-none"}, "The model gave no image.")
    elif covered:
        shown = el(
            "button",
            {"type": "button", "class": "eh-cover", "data-act": "show", "data-number": number},
            el("img", {"src": markup.picture_uri(image, covered=True), "alt": ""}),
            el("span", None, "This image may be unsafe. Show it"),
        )
    else:
        shown = el("img", {"src": markup.picture_uri(image), "alt": "The image to label"})
    place = f"Image {len(check.answers) + 1} of {len(check.queue)}: what do you see?"
    return el("ul", {"class": "eh-pictures eh-one"}, el("li", None, shown, el("p", None, place)))


def _result(session: Session, check: Check) -> str:
    head = ("Share", "By the judge", "Corrected", "95 % interval")
    labels = session.plain.labels([one.name for one in session.concepts].index(check.concept.name))[: check.images]
    read = sum(label is not None for label in labels)
    rows = []
    for one in corrected(session, check):
        name = one.class_name or str(check.concept.unsafe_class)
        judged = percent(labels.count(name) / read) if read else "none"
        if one.value is None or one.low is None or one.high is None:
            continue
        cells = (judged, percent(one.value), f"{percent(one.low)} to {percent(one.high)}")
        rows.append(el("tr", None, el("th", {"scope": "row"}, name), *(el("td", None, cell) for cell in cells)))
    table = el(
        "table",
        {"class": "eh-table"},
        el("thead", None, el("tr", None, *(el("th", {"scope": "col"}, one) for one in head))),
        el("tbody", None, *rows),
    )
    words = f"By {count(len(check.answers), 'label')}, each with the weight of its draw, for {count(read, 'image')}."
    return el("div", None, markup.scrolled(table, "Corrected shares"), el("p", None, words))
