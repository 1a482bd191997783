"""Several judges as one: the panel says what more than half of its members say, and keeps how each of them voted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evenhand.concepts.concept import Concept
from evenhand.records import Verdict, content_hash

from .base import INVALID, NOTHING_TO_JUDGE, Judge

DISAGREES = "the panel disagrees"


class PanelJudge:
    """A label needs the votes of more than half of all members, those that abstain among them; two have to agree.

    Args:
        members: two or more, in the order in which their votes are kept.

    Raises: ValueError for fewer members.
    """

    def __init__(self, members: Sequence[Judge]) -> None:
        if len(members) < 2:
            raise ValueError(f"a panel of {len(members)}, expected two judges or more")
        self._members = tuple(members)

    @property
    def name(self) -> str:
        """The names of the members."""
        return " + ".join(one.name for one in self._members)

    @property
    def hash(self) -> str:
        """Content hash over those of the members, in order."""
        return content_hash(["panel", *(one.hash for one in self._members)])

    def card(self) -> Mapping[str, Any]:
        """Name and hash, and the members' cards."""
        members = [dict(one.card()) for one in self._members]
        return {"name": self.name, "hash": self.hash, "kind": "panel", "members": members}

    def knows(self, concept: Concept) -> bool:
        """Whether all members do."""
        return all(one.knows(concept) for one in self._members)

    def judge(self, images: Sequence[np.ndarray | None], concepts: Sequence[Concept]) -> list[list[Verdict]]:
        """As a judge; every verdict holds the votes."""
        seen = [one.judge(images, concepts) for one in self._members]
        return [
            [self._vote(concept, [one[row][place] for one in seen]) for place, concept in enumerate(concepts)]
            for row in range(len(images))
        ]

    def _vote(self, concept: Concept, verdicts: Sequence[Verdict]) -> Verdict:
        votes = tuple(one.label for one in verdicts)
        label, count = Counter(votes).most_common(1)[0]
        known = [one.probabilities for one in verdicts]
        mean = tuple(round(float(p), 6) for p in np.mean(known, axis=0)) if all(known) else ()
        most = count > len(votes) / 2
        if most and label is not None:
            return Verdict(concept=concept.name, label=label, probabilities=mean, judge=self.name, votes=votes)
        reasons = {one.reason for one in verdicts}
        reason = INVALID if reasons == {INVALID} else NOTHING_TO_JUDGE if most else DISAGREES
        return Verdict(
            concept=concept.name, label=None, probabilities=mean, judge=self.name, reason=reason, votes=votes
        )
