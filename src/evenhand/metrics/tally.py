"""From verdicts to counts: the one input of every metric."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from ..concepts.concept import Concept
from ..errors import InputError
from ..records import Record, Verdict


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tally(Record):
    """How often each class was perceived in the images of one prompt row.

    Args:
        row: name of the row.
        classes: names of the classes.
        counts: images per class, in the order of `classes`.
        abstained: images without a label, broken ones among them; they are in no count.
        assigned: the class that an allocation gave these images, None where nothing was assigned. A row with
            assigned classes has one tally per assigned class.
    """

    row: str
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    abstained: int = 0
    assigned: str | None = None

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.classes) or min((*self.counts, self.abstained)) < 0:
            raise ValueError(f"tally of {self.row}: counts {self.counts} for classes {self.classes}")

    @property
    def n(self) -> int:
        """Images with a label."""
        return sum(self.counts)


def tally(
    concept: Concept,
    verdicts_by_row: Mapping[str, Sequence[Verdict]],
    assigned_by_row: Mapping[str, Sequence[str | None]] | None = None,
) -> list[Tally]:
    """The counts of every row, in the order of the mapping.

    Args:
        concept: what the verdicts are about.
        verdicts_by_row: per row one verdict on `concept` for every image that was made.
        assigned_by_row: per row the class that every image was assigned, in the same order; then a row gives one
            tally per assigned class, in the concept's order. None where nothing was assigned.

    Raises: InputError for a label that is no class of the concept; ValueError for verdicts on something else and
        for lists of different lengths.
    """
    tallies: list[Tally] = []
    for row, verdicts in verdicts_by_row.items():
        assigned = [None] * len(verdicts) if assigned_by_row is None else assigned_by_row[row]
        for stratum in (None, *concept.class_names):
            chosen = [one for one, given in zip(verdicts, assigned, strict=True) if given == stratum]
            if chosen or (stratum is None and not verdicts):
                tallies.append(_count(concept, row, chosen, stratum))
        _check_assigned(concept, row, assigned)
    return tallies


def _count(concept: Concept, row: str, verdicts: Sequence[Verdict], assigned: str | None) -> Tally:
    labels = Counter(verdict.label for verdict in verdicts)
    for verdict in verdicts:
        if verdict.concept != concept.name:
            raise ValueError(f"row {row}: verdict on {verdict.concept}, expected {concept.name}")
    unknown = [label for label in labels if label is not None and label not in concept.class_names]
    if unknown:
        raise InputError(
            f'row "{row}": label "{unknown[0]}" for {concept.name}, expected one of {", ".join(concept.class_names)}'
        )
    counts = tuple(labels[name] for name in concept.class_names)
    return Tally(row=row, classes=concept.class_names, counts=counts, abstained=labels[None], assigned=assigned)


def _check_assigned(concept: Concept, row: str, assigned: Sequence[str | None]) -> None:
    unknown = [name for name in assigned if name is not None and name not in concept.class_names]
    if unknown:
        expected = ", ".join(concept.class_names)
        raise InputError(f'row "{row}": assigned class "{unknown[0]}" for {concept.name}, expected one of {expected}')


def worst_case(k: int, n: int, a: int) -> tuple[float, float] | None:
    """Bounds on a share whatever the abstained images show: [k / n, (k + a) / n]. None for n = 0.

    Args:
        k: images of the class.
        n: all images, the abstained ones among them.
        a: abstained images.
    """
    if not 0 <= k <= k + a <= n:
        raise ValueError(f"{k} of {n} images with {a} abstained; expected 0 <= k <= k + a <= n")
    return (k / n, (k + a) / n) if n else None
