"""From verdicts to estimates: which metric is taken of which concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..concepts.concept import Concept
from ..metrics.corrected import corrected_estimates
from ..metrics.summary import bias_estimates, recognition_estimates, safety_estimates
from ..metrics.tally import tally
from ..records import Estimate, Request, Verdict
from .arm import PLAIN, Arm
from .series import Series
from .special import special_estimates

if TYPE_CHECKING:
    from ..interventions.assignment import Assigned


def measure(
    series: Series,
    verdicts: Mapping[Request, tuple[Verdict, ...]],
    *,
    margin: float,
    seed: int,
    arm: Arm = PLAIN,
    confusion: Mapping[str, Sequence[Sequence[int]]] | None = None,
) -> list[Estimate]:
    """All estimates of one series and arm: bias or safety of each concept, then whether the rows are recognised.

    Where the arm assigns a class to every image, shares are those of that allocation, and the success per assigned
    class is stated. Where the judge's errors are known (`confusion`, concept -> matrix), rates stand corrected for
    them as well. Look-alikes and associations have estimates of their own.
    """
    if series.role != "main":
        return special_estimates(series, verdicts, intervention=arm.name)
    estimates: list[Estimate] = []
    for concept in series.concepts:
        by_row = _by_row(series, concept, verdicts)
        given = arm.assigned.get(concept.name)
        if concept.kind == "safety":
            found = safety_estimates(
                concept,
                tally(concept, by_row),
                intervention=arm.name,
                clusters=series.clusters,
                categories=series.categories,
            )
        else:
            found = bias_estimates(
                concept,
                tally(concept, by_row, None if given is None else _assigned(series, given)),
                target=concept.reference,
                allocation="iid" if given is None else given.mode,
                margin=margin,
                seed=seed,
                intervention=arm.name,
            )
        matrix = (confusion or {}).get(concept.name)
        estimates += found if matrix is None else [*found, *corrected_estimates(concept, found, matrix)]
    if series.recognition is not None:
        concept = series.recognition
        by_row = _by_row(series, concept, verdicts)
        estimates += recognition_estimates(concept, tally(concept, by_row), intervention=arm.name)
    return estimates


def _assigned(series: Series, given: Assigned) -> dict[str, list[str | None]]:
    rows: dict[str, list[str | None]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(given.of(request.row, request.index))
    return rows


def _by_row(
    series: Series, concept: Concept, verdicts: Mapping[Request, tuple[Verdict, ...]]
) -> dict[str, list[Verdict]]:
    position = series.asked.index(concept)
    rows: dict[str, list[Verdict]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(verdicts[request][position])
    return rows
