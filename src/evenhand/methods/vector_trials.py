"""Looking at what vectors do, on the fit judge and on seeds that no report uses: which site, which strength."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept
from evenhand.concepts.mixture import mixture
from evenhand.concepts.prompts import PromptRow
from evenhand.host.sites import Attachable, Call
from evenhand.methods.fitting import Fitting
from evenhand.records import Request, Sample

Show = Callable[[str, float], Sequence[Attachable]]
"""The interventions that show a class at a strength, in every image."""
Labels = list[str | None]

GENTLE = (0.3, 0.5, 0.7)
"""Strengths below the pin's whole way, for concepts that are shown long before: less of them moves less else."""
LATE = (0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of the schedule after which the pin may begin, the latest first: what has been decided by then stays."""
UNJUDGED = 0.6
"""The latest of them where no judge knows the concept: final latents tell what was changed late less well."""
STRENGTHS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
SITE_STRENGTHS = (1.5, 6.0)
WANTED = 0.97
"""Success at which a class needs no more strength, at the first look;"""
CONFIRMED = 0.94
"""and at the second, over three times as many images: 17 of 18."""
_EVERY_ROW = ""
Words = Callable[[PromptRow, int], str]
"""The prompt of a row's image by its number."""
_OVER_ROWS = 48
"""Images of all rows together that say whether less than the whole way is enough."""


def _own_phrase(row: PromptRow, index: int) -> str:
    return row.phrase or row.prompt(index)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trials:
    """Images of a concept's prompts, made with interventions and read.

    Args:
        fitting: the model and its fit judge.
        concept: what is read.
        rows: prompts; those of the concept's set, each in words that the set's own templates do not use.
        read: labels of samples.
        seed: of the run; the seeds have a role of their own.
        role: of the seeds.
        words: the prompts; each row's own phrase for all of its images, unless told.
    """

    fitting: Fitting
    concept: Concept
    rows: tuple[PromptRow, ...]
    read: Callable[[Sequence[Sample]], Labels]
    seed: int
    role: str = "calibrate"
    words: Words = _own_phrase

    def spread(self, count: int) -> tuple[PromptRow, ...]:
        """`count` rows, evenly over all of them."""
        return self.rows[:: max(1, len(self.rows) // count)][:count]

    @classmethod
    def judged(cls, fitting: Fitting, concept: Concept, neutral: str, words: Words = _own_phrase) -> Trials:
        """Of the concept's own rows, read by the fit judge; of the neutral prompt where it has none."""
        return cls(
            fitting=fitting,
            concept=concept,
            rows=fitting.rows(concept) or (PromptRow(name=neutral, templates=(neutral,)),),
            read=lambda samples: [labels[0] for labels in fitting.read(samples, [concept])],
            seed=fitting.setting.seed,
            words=words,
        )

    def requests(self, images: int, rows: Sequence[PromptRow] | None = None, *, first: int = 0) -> list[Request]:
        """`images` requests for each row, numbered from `first` on: other numbers, other seeds."""
        return [
            Request(
                row=row.name,
                prompt=self.words(row, index),
                index=index,
                seed=image_seed(self.seed, self.role, row.name, index),
            )
            for row in (self.rows if rows is None else rows)
            for index in range(first, first + images)
        ]

    def labels(self, interventions: Sequence[Attachable], requests: Sequence[Request]) -> Labels:
        """What is read in the images of the requests, with interventions attached."""
        return self.read(self.fitting.make(interventions, requests))

    def success(self, show: Show, classes: Sequence[str], strength: float, requests: Sequence[Request]) -> float:
        """Mean over the classes of the share of images in which the class that is shown is read."""
        hits = [
            sum(label == name for label in self.labels(show(name, strength), requests)) / len(requests)
            for name in classes
        ]
        return sum(hits) / len(hits)


def calibrate(
    trials: Trials,
    show: Show,
    classes: Sequence[str],
    images: int,
    start: float = STRENGTHS[0],
    *,
    gentle: bool = False,
) -> dict[str, dict[str, float]]:
    """Class -> row -> the least strength at which the class is read, the row "" for prompts of no row.

    Every row is tried at the smallest strength. The rows that miss the class too often are tried at the next one, and
    so on; one that no strength brings there gets the best that was seen. A row that seems to succeed is confirmed on
    twice as many further images: six of six are seen in one case of seven where the class is shown in 72 % only.
    Prompts of no row get the least strength at which the class succeeds over all rows.

    Args:
        trials: rows and seeds.
        show: the intervention.
        classes: to calibrate.
        images: per class and row at each strength.
        start: the smallest strength that is tried for single rows.
        gentle: True looks first whether less suffices for a class over all rows, and then starts there.

    Cost: three times `images` per row and class, and up to as many again for each strength that a row needs more.
    """
    found = {}
    for name in classes:
        least = _gentlest(trials, show, name, start) if gentle else start
        found[name] = _one_class(trials, show, name, images, [one for one in (*GENTLE, *STRENGTHS) if one >= least])
    return found


def latest_start(
    trials: Trials, show_from: Callable[[float], Show], classes: Sequence[str], latest: float = LATE[0]
) -> float:
    """The latest start at which each class is shown over all rows, but for 3 %, by the whole way; 0 where none is.

    Args:
        trials: rows and seeds.
        show_from: share of the schedule -> the intervention that begins there.
        classes: to show.
        latest: start that is tried.

    Cost: 48 images for each start and class that are tried.
    """
    requests = trials.requests(math.ceil(_OVER_ROWS / len(trials.rows)))
    return next(
        (
            start
            for start in LATE
            if start <= latest
            and all(trials.success(show_from(start), [name], STRENGTHS[0], requests) >= WANTED for name in classes)
        ),
        0.0,
    )


def _gentlest(trials: Trials, show: Show, name: str, start: float) -> float:
    """The least strength at which the class is shown over all rows, but for 3 %; `start` where none is enough."""
    requests = trials.requests(math.ceil(_OVER_ROWS / len(trials.rows)))
    return next((one for one in GENTLE if trials.success(show, [name], one, requests) >= WANTED), start)


def _one_class(trials: Trials, show: Show, name: str, images: int, strengths: Sequence[float]) -> dict[str, float]:
    found: dict[str, tuple[float, float]] = {}  # row -> (success, strength)
    default = strengths[-1]
    settled = False
    rows = list(trials.rows)
    for strength in strengths:
        if not rows:
            break
        shown = show(name, strength)
        hits = _hits(trials, shown, name, trials.requests(images, rows))
        promising = [row for row in rows if sum(hits[row.name]) >= WANTED * len(hits[row.name])]
        if promising:
            more = _hits(trials, shown, name, trials.requests(2 * images, promising, first=images))
            hits = {row: some + more.get(row, []) for row, some in hits.items()}
        for row, some in hits.items():
            success = sum(some) / len(some)
            if success > found.get(row, (-1.0, 0.0))[0]:
                found[row] = (success, strength)
        if not settled and sum(success for success, _ in found.values()) / len(found) >= CONFIRMED:
            default, settled = strength, True
        done = {row.name for row in promising if sum(hits[row.name]) >= CONFIRMED * len(hits[row.name])}
        rows = [row for row in rows if row.name not in done]
    if not settled and not rows:
        default = max(strength for _, strength in found.values())
    return {_EVERY_ROW: default, **{row: strength for row, (_, strength) in found.items() if strength != default}}


def _hits(trials: Trials, shown: Sequence[Attachable], name: str, requests: Sequence[Request]) -> dict[str, list[bool]]:
    """Row -> of each of its images whether the class is read."""
    found: dict[str, list[bool]] = {}
    for label, request in zip(trials.labels(shown, requests), requests, strict=True):
        found.setdefault(request.row, []).append(label == name)
    return found


def strength_for(
    calibration: Mapping[str, Mapping[str, float]], name: str, row: str | None, prompt: str | None
) -> float:
    """The calibrated strength of a class for an image: that of its row, else of a row that its prompt speaks of.

    Between classes it is that of each, by its weight.
    """
    found = 0.0
    for one, weight in mixture(name).items():
        by_row = calibration.get(one, {})
        found += weight * by_row.get(row_for(by_row, row, prompt), 1.0)
    return max(found, 0.0)


def strength_in(calibration: Mapping[str, Mapping[str, float]], name: str, call: Call, place: int) -> float:
    """The same for an image of a call."""
    return strength_for(calibration, name, *row_and_prompt(call, place))


def row_and_prompt(call: Call, place: int) -> tuple[str | None, str | None]:
    """The prompt row and the prompt of an image, as far as they are known."""
    row = None if call.requests is None else call.requests[place].row
    return row, None if call.prompts is None else call.prompts[place]


def row_for(known: Collection[str], row: str | None, prompt: str | None) -> str:
    """The calibrated row of an image: its own, else the last that its prompt speaks of, else "" for no row.

    The last, since "a house in torlund" is about Torlund.
    """
    if row is not None and row in known:
        return row
    text = f" {(prompt or '').casefold()} "
    places = {one: text.rfind(f" {one.casefold()} ") for one in known if one}
    last = max(places, key=places.__getitem__, default=_EVERY_ROW)
    return last if places.get(last, -1) >= 0 else _EVERY_ROW
