"""One prompt row as numbers: shares, their covariance and their intervals, under either allocation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import InputError
from .intervals import CONFIDENCE, Interval, square_and_add, wilson
from .mean_rate import Part
from .tally import Tally

Allocation = Literal["iid", "stratified"]


@dataclasses.dataclass(frozen=True)
class Row:
    """The counts of one prompt row by stratum.

    Independent images form one stratum; under stratified allocation each assigned class is one, whose size is
    fixed, so that only what happens inside the strata varies. `assigned` names the class of every stratum, None
    for independent images.
    """

    name: str
    classes: tuple[str, ...]
    strata: tuple[tuple[int, ...], ...]
    assigned: tuple[str | None, ...]
    abstained: int

    @property
    def counts(self) -> tuple[int, ...]:
        """Images per class over all strata."""
        return tuple(sum(column) for column in zip(*self.strata, strict=True))

    @property
    def n(self) -> int:
        """Images with a label."""
        return sum(self.counts)

    @property
    def fair_counts(self) -> tuple[int, ...] | None:
        """What a perfectly fair sampler shows: stratified, every image its assigned class; None where it varies."""
        if self.assigned == (None,):
            return None
        sizes = {name: sum(stratum) for name, stratum in zip(self.assigned, self.strata, strict=True)}
        return tuple(sizes.get(name, 0) for name in self.classes)

    @property
    def shares(self) -> np.ndarray:
        """Share per class, shape (K,); n >= 1."""
        return np.array(self.counts) / self.n

    def covariance(self, pseudo_count: float = 0.0) -> np.ndarray | None:
        """Estimated covariance of the shares, shape (K, K): sum_a (n_a / n)^2 (diag(p_a) - p_a p_a^T) / (n_a - 1).

        Unbiased with `pseudo_count` = 0. A positive one is added to every class first, so that a row that shows
        one class only keeps a variance. None where a stratum has fewer than two images.
        """
        total = np.zeros((len(self.counts),) * 2)
        for stratum in self.strata:
            size = sum(stratum)
            if size == 0:
                continue
            if size == 1:
                return None
            smoothed = np.array(stratum) + pseudo_count
            shares = smoothed / smoothed.sum()
            total += (size / self.n) ** 2 * (np.diag(shares) - np.outer(shares, shares)) / (size - 1)
        return total if self.n else None

    def parts(self, k: int) -> list[Part]:
        """The share of class k as counts of independent images; n >= 1."""
        return [
            Part(stratum[k], sum(stratum), sum(stratum) / self.n, assigned)
            for stratum, assigned in zip(self.strata, self.assigned, strict=True)
            if sum(stratum)
        ]

    def interval(self, k: int, confidence: float = CONFIDENCE) -> Interval:
        """The interval of the share of class k: Wilson, squared and added over the strata; n >= 1."""
        used = [stratum for stratum in self.strata if sum(stratum)]
        if len(used) == 1:
            return wilson(used[0][k], self.n, confidence)
        sizes = [sum(stratum) for stratum in used]
        low, high = square_and_add(
            [stratum[k] / size for stratum, size in zip(used, sizes, strict=True)],
            [wilson(stratum[k], size, confidence) for stratum, size in zip(used, sizes, strict=True)],
            [size / self.n for size in sizes],
        )
        share = self.counts[k] / self.n
        return min(max(low, 0.0), share), max(min(high, 1.0), share)


def group_rows(tallies: Sequence[Tally], allocation: Allocation) -> list[Row]:
    """The rows of the tallies, in order of first appearance.

    Raises: InputError for stratified allocation without assigned classes.
    """
    if allocation not in ("iid", "stratified"):
        raise InputError(f'allocation "{allocation}", expected iid or stratified')
    groups: dict[str, list[Tally]] = {}
    for tally in tallies:
        groups.setdefault(tally.row, []).append(tally)
        if allocation == "stratified" and tally.assigned is None and tally.n + tally.abstained:
            raise InputError(f'row "{tally.row}": stratified allocation needs the assigned class of every image')
    rows: list[Row] = []
    for name, group in groups.items():
        strata = tuple(tally.counts for tally in group)
        assigned = tuple(tally.assigned for tally in group)
        if allocation == "iid":
            strata, assigned = (tuple(sum(column) for column in zip(*strata, strict=True)),), (None,)
        rows.append(Row(name, group[0].classes, strata, assigned, sum(tally.abstained for tally in group)))
    return rows
