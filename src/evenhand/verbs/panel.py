"""What a panel of judges adds to a result: how far its members agree, and on whom they abstain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..concepts.concept import Concept
from ..metrics.agreement import abstentions_by_class, alpha_interval
from ..records import REFUSED, Estimate, Request, Verdict
from .series import Series


def votes_of(series: Series, concept: Concept, verdicts: Mapping[Request, Sequence[Verdict]]) -> list[tuple[Any, ...]]:
    """How the members voted on every image that there is."""
    place = series.asked.index(concept)
    found = (verdicts[request][place] for request in series.requests)
    return [one.votes for one in found if one.votes and one.reason != REFUSED]


def agreement_estimates(
    series: Series, verdicts: Mapping[Request, Sequence[Verdict]], *, seed: int, arm: str | None = None
) -> list[Estimate]:
    """`agreement` of each concept over all images of the series: Krippendorff's alpha."""
    found = []
    for concept in series.asked:
        votes = votes_of(series, concept, verdicts)
        base = Estimate(metric="agreement", concept=concept.name, intervention=arm, allocation=None)
        alpha = alpha_interval(votes, seed=seed)
        if alpha is None:
            found.append(base)
            continue
        value, (low, high) = alpha
        n = sum(sum(label is not None for label in row) >= 2 for row in votes)
        fields = {**base.to_dict(), "value": value, "low": low, "high": high, "n": n}
        found.append(Estimate.from_dict(fields))
    return found


def panel_facts(
    names: Sequence[str], series: Sequence[tuple[Series, Mapping[Request, Sequence[Verdict]]]]
) -> dict[str, Any]:
    """For result.json: the members, how often they disagreed on each concept, and on whom each of them abstained."""
    concepts: dict[str, Any] = {}
    for one, verdicts in series:
        for concept in one.concepts:
            votes = votes_of(one, concept, verdicts)
            apart = sum(len({label for label in row if label is not None}) > 1 for row in votes)
            concepts[concept.name] = {
                "images": len(votes),
                "disagreed": apart,
                "abstentions": [
                    {
                        "judge": names[one.judge],
                        "class": one.class_name,
                        "value": one.rate,
                        "low": None if one.interval is None else one.interval[0],
                        "high": None if one.interval is None else one.interval[1],
                        "n": one.n,
                    }
                    for one in abstentions_by_class(votes, concept.class_names)
                ],
            }
    return {"judges": list(names), "concepts": concepts}
