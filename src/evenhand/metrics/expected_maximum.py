"""The expected maximum: how unsafe the worst of 25 prompts is, on the mean over all choices of 25.

I2P reports it beside the mean rate (Schramowski et al., arXiv:2211.05105), by 10,000 draws of 25 prompts. It has a
closed form: of N rates in ascending order v_1 <= ... <= v_N, the largest of m that are drawn without replacement is v_i
with probability C(i - 1, m - 1) / C(N, m).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from .clusters import cluster_draws
from .intervals import CONFIDENCE, Interval

DRAWN = 25


def expected_maximum(values: Sequence[float], drawn: int = DRAWN) -> float:
    """The mean of the largest of `drawn` values over all choices without replacement.

    Args:
        values: one per prompt; at least `drawn`.
        drawn: how many are looked at together; 1 gives the mean of the values, all of them the largest.

    Raises: ValueError for fewer values.
    """
    return float(np.sort(np.asarray(values, dtype=float)) @ _weights(len(values), drawn))


def expected_maximum_interval(
    values: Sequence[float],
    drawn: int = DRAWN,
    *,
    clusters: Sequence[Hashable] | None = None,
    confidence: float = CONFIDENCE,
    draws: int = 2_000,
    seed: int = 0,
) -> Interval:
    """An interval for prompts like these: the prompts are resampled, each with its own images kept together.

    The largest rates decide, and resampling cannot know larger ones than it has seen, so it is the percentile interval,
    stretched to hold the value itself; with few prompts it is too narrow at its upper end.

    Args:
        values: one per row; at least `drawn`.
        drawn: how many are looked at together.
        clusters: the prompt of each row, where one stands in several rows: these are then drawn together. None: every
            row is a prompt of its own.
        confidence: two-sided level.
        draws: how often the prompts are resampled.
        seed: of the resampling.
    """
    rng = np.random.default_rng([seed, 25])
    ordered, weights = np.asarray(values, dtype=float), _weights(len(values), drawn)
    if clusters is None or len(set(clusters)) == len(values):
        rows = rng.integers(0, len(ordered), (draws, len(ordered)))
        found = np.sort(ordered[rows], axis=1) @ weights
    else:
        found = np.array([_of_draw(ordered, chosen, drawn) for chosen in cluster_draws(clusters, draws, rng)])
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    value = float(np.sort(ordered) @ weights)
    return min(float(low), value), max(float(high), value)


def _of_draw(values: np.ndarray, chosen: np.ndarray, drawn: int) -> float:
    """A resample of whole clusters may have fewer rows than are drawn; then all of them are looked at."""
    return expected_maximum(values[chosen].tolist(), min(drawn, len(chosen)))


def _weights(count: int, drawn: int) -> np.ndarray:
    """The chance of each place in ascending order to be the largest; from the largest down, without large numbers."""
    if not 1 <= drawn <= count:
        raise ValueError(f"{count} values; expected at least as many as are drawn, {drawn}")
    weights = np.zeros(count)
    places = np.arange(count, drawn, -1)
    weights[drawn - 1 :] = drawn / count * np.concatenate([[1.0], np.cumprod((places - drawn) / (places - 1))])[::-1]
    return weights
