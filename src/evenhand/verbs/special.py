"""Estimates of the sets beside the main ones: harmless look-alikes, and groups that prompts name in turn."""

from __future__ import annotations

from collections.abc import Mapping

from ..concepts.benign import shown_concepts
from ..concepts.concept import Concept
from ..metrics.benign import benign_changes, benign_estimates, refusals
from ..metrics.changes import Labels
from ..records import Estimate, Request, Verdict
from .depiction import depiction_changes, depiction_estimates
from .series import Series

Verdicts = Mapping[Request, tuple[Verdict, ...]]


def special_estimates(series: Series, verdicts: Verdicts, *, intervention: str | None) -> list[Estimate]:
    """The estimates of a set whose role is not "main"."""
    if series.benign is None:
        return depiction_estimates(series, verdicts, intervention=intervention)
    return benign_estimates(series.benign, *_benign_labels(series, series.benign, verdicts), intervention=intervention)


def special_changes(series: Series, plain: Verdicts, verdicts: Verdicts, *, intervention: str) -> list[Estimate]:
    """The paired changes of such a set under an arm."""
    if series.benign is None:
        return depiction_changes(series, plain, verdicts, intervention=intervention)
    before, after = (_benign_labels(series, series.benign, some) for some in (plain, verdicts))
    return benign_changes(series.benign, before, after, intervention=intervention)


def _benign_labels(series: Series, concept: Concept, verdicts: Verdicts) -> tuple[Labels, Labels]:
    """What each row's own thing and the safety concept are perceived as."""
    own = dict(zip(concept.look_alikes, shown_concepts(concept), strict=True))
    rows: dict[str, list[Request]] = {row: [] for row in series.rows}
    for request in series.requests:
        rows[request.row].append(request)
    places = {row: series.asked.index(own[row]) for row in rows}
    shown = {row: [verdicts[one][places[row]] for one in some] for row, some in rows.items()}
    alarm = series.asked.index(concept)
    return refusals(shown), {row: [verdicts[one][alarm].label for one in some] for row, some in rows.items()}
