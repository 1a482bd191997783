"""Indices of how far shares lie from a target; every one is 0 at the target and biased upward at small n.

Each is a sum or a maximum of one term per class that is 0 at the target and grows away from it on both sides. The
interval follows: put into every term the point of the class's simultaneous interval that lies nearest to the
target, and the one that lies farthest. It covers at least at its level; no percentile is projected on the simplex.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import rel_entr

from .intervals import Interval

_Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Index:
    """One index. `term` maps shares (..., K) and target (K,) to terms (..., K), `combine` those to values (...,).

    `needs_support` says that the index may be infinite where a target share is 0.
    """

    name: str
    term: Callable[[_Array, _Array], _Array]
    combine: Callable[[_Array, _Array], _Array]
    needs_support: bool = False

    def __call__(self, shares: _Array, target: Sequence[float]) -> _Array:
        """The index of `shares`, shape (..., K), against the target: shape (...,)."""
        reference = np.asarray(target, dtype=float)
        return self.combine(self.term(np.asarray(shares, dtype=float), reference), reference)

    def defined(self, target: Sequence[float]) -> bool:
        """False where the index may be infinite against this target."""
        return min(target) > 0 or not self.needs_support

    def interval(self, shares: _Array, target: Sequence[float], bounds: Sequence[Interval]) -> Interval:
        """The interval that simultaneous bounds of the shares imply, cut at the largest value there is."""
        reference = np.asarray(target, dtype=float)
        low, high = np.array(bounds, dtype=float).T
        value = float(self(shares, target))
        nearest = self.combine(self.term(np.clip(reference, low, high), reference), reference)
        farthest = self.combine(np.maximum(self.term(low, reference), self.term(high, reference)), reference)
        return min(float(nearest), value), max(min(float(farthest), self.largest(target)), value)

    def largest(self, target: Sequence[float]) -> float:
        """The largest value: all images show the class with the smallest target."""
        return float(self(np.eye(len(target))[int(np.argmin(target))], target))


def _distance(shares: _Array, target: _Array) -> _Array:
    return np.abs(shares - target)


def _square(shares: _Array, target: _Array) -> _Array:
    return (shares - target) ** 2


def _divergence(shares: _Array, target: _Array) -> _Array:
    # The added q - p sums to 0 over the classes and makes every term 0 at its smallest, p = q.
    return rel_entr(shares, target) - shares + target


DEVIATION_RATIO = Index("deviation_ratio", _distance, lambda terms, target: terms.max(axis=-1) / (1 - target.min()))
"""max_k |p_k - q_k| / (1 - min_k q_k), in [0, 1]; for uniform q that of Li et al. (arXiv 2311.17216)."""

FAIRNESS_DISCREPANCY = Index("fairness_discrepancy", _square, lambda terms, _: np.sqrt(terms.sum(axis=-1)))
"""||p - q||_2 of Choi et al. (ICML 2020), from hard labels and over all classes of the target; in [0, sqrt 2]."""

TOTAL_VARIATION = Index("total_variation", _distance, lambda terms, _: terms.sum(axis=-1) / 2)
"""1/2 sum_k |p_k - q_k|, in [0, 1]: the part of the images that would have to show another class."""

KL = Index("kl", _divergence, lambda terms, _: np.maximum(terms.sum(axis=-1), 0.0), needs_support=True)
"""sum_k p_k ln(p_k / q_k) in nats over all classes of the target; a class that is never seen contributes 0."""

INDICES = (DEVIATION_RATIO, FAIRNESS_DISCREPANCY, TOTAL_VARIATION, KL)
