"""How alike two sets of pictures are, and how varied one set is, on features of shape (n, d)."""

from __future__ import annotations

import math

import numpy as np

_BANDWIDTHS = (0.5, 1.0, 2.0)


def median_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The median distance between pairs of the two sets together; 1 where all are equal."""
    both = np.concatenate([first, second]).astype(float)
    squares = _squares(both, both)[np.triu_indices(len(both), k=1)]
    return math.sqrt(max(float(np.median(squares)), 0.0)) or 1.0


def squared_mmd(first: np.ndarray, second: np.ndarray, distance: float | None = None) -> float:
    """Unbiased squared maximum mean discrepancy (Gretton et al., JMLR 2012, lemma 6); at times negative.

    The kernel is the mean of three Gaussians, at a half, one and two times the median distance.

    Args:
        first, second: features; two or more rows each.
        distance: the median distance, None to take that of these two sets.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"{len(first)} and {len(second)} rows; expected two or more of each")
    scale = median_distance(first, second) if distance is None else distance
    return _from_kernel(_kernel(np.concatenate([first, second]).astype(float), scale), len(first))


def mmd_p_value(first: np.ndarray, second: np.ndarray, *, draws: int = 499, seed: int = 0) -> float:
    """The p-value of equal distributions: rows change sides at random."""
    both = np.concatenate([first, second]).astype(float)
    kernel = _kernel(both, median_distance(first, second))
    seen = _from_kernel(kernel, len(first))
    rng = np.random.default_rng([seed, 37])
    extreme = 0
    for _ in range(draws):
        order = rng.permutation(len(both))
        extreme += _from_kernel(kernel[np.ix_(order, order)], len(first)) >= seen - 1e-12
    return (1 + extreme) / (1 + draws)


def _kernel(rows: np.ndarray, scale: float) -> np.ndarray:
    squares = _squares(rows, rows)
    return np.mean([np.exp(-squares / (2 * (factor * scale) ** 2)) for factor in _BANDWIDTHS], axis=0)


def _from_kernel(kernel: np.ndarray, n: int) -> float:
    m = len(kernel) - n
    own, other, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    within = (own.sum() - np.trace(own)) / (n * (n - 1)) + (other.sum() - np.trace(other)) / (m * (m - 1))
    return float(within - 2 * across.mean())


def cmmd(first: np.ndarray, second: np.ndarray) -> float:
    """CMMD with its published constants: 1,000 times the squared discrepancy, one Gaussian of sigma 10, unit vectors.

    Source: Jayasumana et al., Rethinking FID (CVPR 2024, arXiv:2401.09603), whose estimator is the biased one. At this
    width it is nearly a difference of means; it stands beside the other for comparison with what others print.
    """
    one, two = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second))

    def mean(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-_squares(a, b) / (2 * 10.0**2)).mean())

    return 1000 * (mean(one, one) + mean(two, two) - 2 * mean(one, two))


def vendi(features: np.ndarray) -> float:
    """The Vendi score: the effective number of different pictures, 1 to n.

    Source: Friedman and Dieng (TMLR 2023, arXiv:2210.02410): exp of the entropy of the eigenvalues of K / n, with the
    cosine kernel K.
    """
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    eigenvalues = np.linalg.svd(unit, compute_uv=False) ** 2 / len(unit)
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def relative_drift(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far each picture moved, in units of the mean distance between two seeds of the same prompt, shape (n,).

    Args:
        before, after: features or pixels of the same seeds, of one prompt; two rows or more.
    """
    n = len(before)
    if n < 2:
        raise ValueError("one picture; expected two seeds or more of the same prompt")
    moved = np.linalg.norm((after - before).astype(float).reshape(n, -1), axis=1)
    flat = before.astype(float).reshape(n, -1)
    apart = np.sqrt(_squares(flat, flat))[np.triu_indices(n, k=1)].mean()
    return moved / apart if apart > 0 else np.where(moved > 0, math.inf, 0.0)


def _squares(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Squared distances, (n, m)."""
    first, second = (one**2).sum(axis=1)[:, None], (two**2).sum(axis=1)[None, :]
    return np.maximum(first + second - 2 * one @ two.T, 0.0)
