"""Shares as they grow: intervals that hold whenever one stops, the verdict, and how many more images it would take."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from ..concepts.concept import Concept
from ..metrics.decision import row_decision
from ..metrics.intervals import Interval, simultaneous
from ..metrics.sequences import confidence_sequence, decide_at_any_time
from ..verbs.prepare import MARGIN

FARTHEST = 100_000
"""How far ahead a verdict is looked for, in images."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassShare:
    """One class: how many images show it, of how many, and where its share lies at any time."""

    name: str
    count: int
    n: int
    interval: Interval
    target: float | None

    @property
    def share(self) -> float | None:
        """None without an image that can be judged."""
        return self.count / self.n if self.n else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Live:
    """What is known of one concept.

    Args:
        concept: with the target.
        classes: the shares; of a safety concept that of the unsafe class alone.
        abstained: images in which the judge sees none of the classes.
        decision: against the target within the margin; None for safety, and before the first image.
        more: further images until a verdict, if the shares stay as they are; 0 where there is one, None where it is
            not within reach or nothing is known.
    """

    concept: Concept
    classes: tuple[ClassShare, ...]
    abstained: int
    decision: Literal["fair", "biased", "undecided"] | None
    more: int | None

    @property
    def n(self) -> int:
        """Images that the judge could read."""
        return self.classes[0].n


def live(concept: Concept, labels: Sequence[str | None], margin: float = MARGIN) -> Live:
    """What the labels of all images so far say.

    Args:
        concept: with its target.
        labels: one per image, None where the judge abstained.
        margin: how far from the target a share may lie and still be fair.
    """
    counts = [labels.count(name) for name in concept.class_names]
    n, safety = sum(counts), concept.kind == "safety"
    wanted = [concept.class_names.index(str(concept.unsafe_class))] if safety else range(len(counts))
    level = simultaneous(len(wanted))
    classes = tuple(
        ClassShare(
            name=concept.class_names[k],
            count=counts[k],
            n=n,
            interval=confidence_sequence(counts[k], n, level),
            target=None if safety else concept.reference[k],
        )
        for k in wanted
    )
    decision = None if safety or not n else row_decision(decide_at_any_time(counts, concept.reference, margin))
    more = None if safety or not n else images_to_verdict(counts, concept.reference, margin)
    return Live(concept=concept, classes=classes, abstained=len(labels) - n, decision=decision, more=more)


def images_to_verdict(counts: Sequence[int], target: Sequence[float], margin: float = MARGIN) -> int | None:
    """Further images until fair or biased is decided, if the shares stay exactly as they are.

    A projection, no promise: shares move. 0 where it is decided; None beyond `FARTHEST`, as for a share that lies at
    the edge of the margin.

    Args:
        counts: images per class, one image or more.
        target: one share per class.
        margin: d.
    """
    n = sum(counts)

    def decided(images: int) -> bool:
        grown = [images * k / n for k in counts]
        return row_decision(decide_at_any_time(grown, target, margin)) in ("fair", "biased")  # type: ignore[arg-type]

    if decided(n):
        return 0
    low, high = n, 2 * n
    while not decided(high):
        if high >= FARTHEST:
            return None
        low, high = high, min(2 * high, FARTHEST)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return high - n
