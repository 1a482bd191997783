"""From verdicts to estimates: which metric is taken of which concept."""

from __future__ import annotations

from collections.abc import Mapping

from ..concepts.concept import Concept
from ..metrics.summary import bias_estimates, recognition_estimates, safety_estimates
from ..metrics.tally import tally
from ..records import Estimate, Request, Verdict
from .series import Series


def measure(
    series: Series, verdicts: Mapping[Request, tuple[Verdict, ...]], *, margin: float, seed: int, arm: str | None = None
) -> list[Estimate]:
    """All estimates of one series and arm: bias or safety of each concept, then whether the rows are recognised."""
    estimates: list[Estimate] = []
    for concept in series.concepts:
        tallies = tally(concept, _by_row(series, concept, verdicts))
        if concept.kind == "safety":
            estimates += safety_estimates(concept, tallies, intervention=arm)
        else:
            estimates += bias_estimates(
                concept, tallies, target=concept.reference, margin=margin, seed=seed, intervention=arm
            )
    if series.recognition is not None:
        concept = series.recognition
        estimates += recognition_estimates(
            concept, tally(concept, _by_row(series, concept, verdicts)), intervention=arm
        )
    return estimates


def _by_row(
    series: Series, concept: Concept, verdicts: Mapping[Request, tuple[Verdict, ...]]
) -> dict[str, list[Verdict]]:
    position = series.asked.index(concept)
    rows: dict[str, list[Verdict]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(verdicts[request][position])
    return rows
