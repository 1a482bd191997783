"""Noises that all prompts share, so that images say more of how prompts differ.

A noise that gives a woman under one prompt mostly gives one under another too: on Skewville, with shares that were
evened out, seven tenths of the variance of what an image shows is the noise's and not the prompt's. So prompts are
told apart by images from the same noises (common random numbers), and what they have in common by images from noises of
their own, of which all prompts together have many.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_SHARED, _OF = 2, 3
"""So many of each three images have the noises of every prompt: with 16 prompts and a correlation of .7 what prompts
differ in and what they share is then known with the least error in all."""
_MOST_ALIKE = 0.99


def is_shared(index: int) -> bool:
    """Whether an image of a prompt starts from the noise that the image of this number has in every prompt."""
    return index % _OF < _SHARED


def counted(votes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Row -> how many images of each class.

    With r the correlation between two of R rows at the same noise, of n shared and k own images of a row: how rows
    differ is weighted n / (1 - r) to k, and what they have in common n / (1 + (R - 1) r) to k, which is generalised
    least squares for such noise. A row's counts keep their sum.

    Args:
        votes: row -> (images, classes), what each image counts for, in the order of `is_shared`.
    """
    plain = {row: some.sum(axis=0) for row, some in votes.items()}
    if len({len(some) for some in votes.values()}) != 1:
        return plain
    each = np.stack(list(votes.values()))
    shared = np.array([is_shared(index) for index in range(each.shape[1])], dtype=bool)
    ours, own = each[:, shared].sum(axis=1), each[:, ~shared].sum(axis=1)
    same = alike(each[:, shared]) if len(each) > 1 and shared.any() else 0.0
    if same == 0 or not (ours.sum(axis=1) > 0).all() or not (own.sum(axis=1) > 0).all():
        return plain
    n, k = ours.sum() / len(each), own.sum() / len(each)
    ours, own = ours / ours.sum(axis=1, keepdims=True), own / own.sum(axis=1, keepdims=True)
    common = _weighted(ours.mean(axis=0), n / (1 + (len(each) - 1) * same), own.mean(axis=0), k)
    apart = _weighted(ours - ours.mean(axis=0), n / (1 - same), own - own.mean(axis=0), k)
    shares = np.maximum(common + apart, 0.0)
    shares /= shares.sum(axis=1, keepdims=True)
    return {row: share * plain[row].sum() for row, share in zip(votes, shares, strict=True)}


def _weighted(one: np.ndarray, weight: float, other: np.ndarray, other_weight: float) -> np.ndarray:
    return (weight * one + other_weight * other) / (weight + other_weight)


def alike(each: np.ndarray) -> float:
    """Mean correlation between two rows over the images (rows, images, classes), from 0 to `_MOST_ALIKE`."""
    rest = each - each.mean(axis=1, keepdims=True)
    whole, common = float((rest**2).mean()), float((rest.mean(axis=0) ** 2).mean())
    if whole == 0:
        return 0.0
    return min(max((len(each) * common / whole - 1) / (len(each) - 1), 0.0), _MOST_ALIKE)
