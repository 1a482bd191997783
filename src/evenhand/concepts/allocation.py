"""The seed and the class of every image: functions of what the image is, never of how many there are.

Image i of a prompt has the same seed and the same class in a run of 10 images and in one of 1,000, in any
batch and on any machine; runs with disjoint roles never share a seed.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from ..errors import InputError
from ..records import canonical_json
from .shares import checked_shares

LARGEST_BLOCK = 100
"""Blocks of stratified allocation have exact quotas where the shares are multiples of 1/d, d up to this."""

_Shares = tuple[tuple[str, float], ...]


def _digest(parts: list[Any]) -> int:
    return int.from_bytes(hashlib.sha256(canonical_json(parts).encode()).digest()[:8], "big")


def check_seed(seed: int, images: int = 0) -> None:
    """Raises InputError for a seed that is no whole number from 0 to 2^63.

    Args:
        seed: of a run, or of the first image.
        images: that start from this seed and those that follow.
    """
    if not 0 <= seed < 2**63 - images:
        raise InputError(f"--seed {seed}: expected a whole number from 0 to 2^63")


def image_seed(run_seed: int, role: str, prompt: str, index: int) -> int:
    """The seed of image `index` of `prompt`, in [0, 2**63): the first 63 bits of a SHA-256.

    The hash is over the canonical JSON list [run_seed, role, prompt, index], so that prompts do not share noises.

    Args:
        run_seed: the seed of the whole run.
        role: "fit", "calibrate", "stop" or "report"; the streams of different roles are disjoint.
        prompt: the name of the prompt row.
        index: position of the image within its row, from 0.
    """
    return _digest([run_seed, role, prompt, index]) >> 1


def allocate(
    target: Mapping[str, float], run_seed: int, prompt: str, index: int, mode: Literal["stratified", "iid"]
) -> str:
    """The class that image `index` of `prompt` is to show.

    Args:
        target: share per class, summing to 1; a class with share 0 is never drawn.
        run_seed: the seed of the whole run.
        prompt: the name of the prompt row.
        index: position of the image within its row, from 0.
        mode: "iid" draws every image by itself; "stratified" works in shuffled blocks. Where every share is a
            multiple of 1/d for some d <= 100 a block has d images (the smallest such d) and holds its quotas
            exactly; else blocks of 100 follow the running largest remainder, so that the counts stay within one
            or two images of the target however long the run.

    Raises: InputError for an unknown mode or a negative index, ConceptError for shares that do not sum to 1.
    """
    if index < 0:
        raise InputError(f"image index {index}, expected 0 or more")
    shares = tuple(zip(target, checked_shares(list(target.values()), "the target of an allocation"), strict=True))
    if mode == "iid":
        return _draw(shares, _digest([run_seed, "class", prompt, index]) / 2**64)
    if mode == "stratified":
        size = _block_size(shares)
        return _shuffled_block(shares, run_seed, prompt, index // size)[index % size]
    raise InputError(f'allocation "{mode}", expected stratified or iid')


def _draw(shares: _Shares, uniform: float) -> str:
    """Inverse of the cumulated shares; rounding at the upper end falls to the last class that has a share."""
    possible = [(name, share) for name, share in shares if share > 0]
    for (name, _), cumulated in zip(possible, itertools.accumulate(share for _, share in possible), strict=True):
        if uniform < cumulated:
            return name
    return possible[-1][0]


@lru_cache(maxsize=256)
def _block_size(shares: _Shares) -> int:
    sizes = range(1, LARGEST_BLOCK + 1)
    return next((size for size in sizes if _is_exact(shares, size)), LARGEST_BLOCK)


def _is_exact(shares: _Shares, size: int) -> bool:
    return all(abs(share * size - round(share * size)) < 1e-9 * size for _, share in shares)


@lru_cache(maxsize=4096)
def _shuffled_block(shares: _Shares, run_seed: int, prompt: str, block: int) -> tuple[str, ...]:
    size = _block_size(shares)
    classes = _block(shares, size, block)
    # Sorting by a hash per place shuffles alike in every version of every language.
    places = sorted(range(size), key=lambda place: _digest([run_seed, "stratum", prompt, block, place]))
    return tuple(classes[place] for place in places)


@lru_cache(maxsize=4096)
def _block(shares: _Shares, size: int, block: int) -> tuple[str, ...]:
    if _is_exact(shares, size):
        return tuple(name for name, share in shares for _ in range(round(share * size)))
    counts = [0] * len(shares)
    chosen: list[str] = []
    for done in range((block + 1) * size):
        lags = [share * (done + 1) - count for (_, share), count in zip(shares, counts, strict=True)]
        largest = lags.index(max(lags))
        counts[largest] += 1
        chosen.append(shares[largest][0])
    return tuple(chosen[block * size :])
