"""The shares of a tab, corrected by what people see in a random queue of its images."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..records import Estimate
from ..verbs.labels import Sheet, calibrated_estimates
from .label_queue import Check, draw_queue
from .session import Session


def begin_check(session: Session, concept: str, images: int) -> Check:
    """Draw a queue from all images of the tab.

    Raises: InputError for a concept that is not looked at, or too few images.
    """
    names = [one.name for one in session.concepts]
    if concept not in names:
        raise InputError("choose a concept that is looked at on the page Look")
    place = names.index(concept)
    made = len(session.series().requests)
    seed = session.look.seed if session.look else 0
    queue = draw_queue(session.plain.labels(place), images, seed)
    return Check(concept=session.concepts[place], queue=queue, images=made)


def corrected(session: Session, check: Check) -> list[Estimate]:
    """The shares by the people's labels and the judge's verdicts together, each label with its weight.

    By prediction-powered inference; intervals are for a number of images that was fixed beforehand.

    Raises: InputError while images of the queue have no label: to leave out the hard ones would bias the rest.
    """
    missing = len(check.queue) - len(check.answers)
    if missing:
        raise InputError(f"{missing} images of the queue have no label yet: label all, with none where no class fits")
    series = session.look.series(check.images) if session.look else session.series()
    files = {request: str(number) for number, request in enumerate(series.requests)}
    verdicts = {request: seen.verdicts for request, seen in zip(series.requests, session.plain.seen, strict=False)}
    sheet = Sheet(
        path=Path("labels"),
        chance={str(one.number): one.chance for one in check.queue},
        labels={check.concept.name: {str(number): label for number, label in check.answers.items()}},
    )
    return [one for one in calibrated_estimates(sheet, series, verdicts, files) if one.prompt is not None]
