"""Laws of one coordinate of the initial noise, as maps of the coordinate that was drawn.

Along a unit direction standard normal noise has a standard normal coordinate s. An intervention gives it another law q
by a rising map of s, so an image's coordinate is moved as little as that law allows, and a law that asks for nothing
leaves it where it was. What that costs is KL(q || N(0, 1)) in nats: how far the noise is from what the model was
trained on, whatever the number of its values.

The least that a wanted distribution of classes can cost is paid by the tilted law (I-projection, Csiszar 1975):

    q(s) ~ exp(-s^2 / 2) exp(sum_j l_j P(class j | s)),  with l such that the classes have the wanted shares.

It leaves most images near where one class turns into another, so whatever turns there moves the shares: an error of the
calibration, or a model that was trained further. A law under which every image shows its class clearly costs more and
holds its shares better.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize, nnls
from scipy.special import logsumexp
from scipy.stats import norm

_GRID = np.linspace(-9.0, 9.0, 3601)
_NOTHING = 1e-5
"""Nats below which a law leaves the coordinate alone."""
_EXACT = 1e-2
"""Shares that lie as near as this to the wanted ones are those."""
_FAR = 12.5
"""Nats beyond which no class is made any clearer, those of a shift by five: noise so far out makes poor pictures."""


@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """A law of a coordinate.

    Attributes:
        map: drawn coordinates in, coordinates of this law out; rising.
        kl: nats.
        shift: where the law is the standard normal, moved by this; else None.
        missed: by how much the share of a class that is expected under it lies off the wanted one, at most.
    """

    map: Callable[[np.ndarray], np.ndarray]
    kl: float
    shift: float | None = None
    missed: float = 0.0


SAME = Law(map=lambda drawn: drawn, kl=0.0, shift=0.0)
"""The coordinate stays."""


def shifted(by: float) -> Law:
    """s + by, the published form; by^2 / 2 nats."""
    return SAME if by == 0 else Law(map=lambda drawn: drawn + by, kl=by * by / 2, shift=by)


def between(low: float, high: float) -> Law:
    """The normal law, cut to an interval: nothing that it would not have drawn; -log of the interval's chance nats."""
    first, last = norm.cdf(low), norm.cdf(high)
    chance = float(last - first)
    if chance >= 1 - 1e-9:
        return SAME

    def cut(drawn: np.ndarray) -> np.ndarray:
        # the far tail is computed on its own side, where a distribution function keeps its digits
        if low > 0:
            upper = norm.sf(low)
            return np.asarray(norm.isf(upper - (upper - norm.sf(high)) * norm.cdf(drawn)))
        return np.asarray(norm.ppf(first + chance * norm.cdf(drawn)))

    return Law(map=cut, kl=-float(np.log(norm.sf(low) - norm.sf(high) if low > 0 else chance)))


def reflected(sign: int) -> Law:
    """|s| on one side: two classes of one seed are each other's reflection (antithetic); log 2 nats."""
    return Law(map=lambda drawn: sign * np.abs(drawn), kl=float(np.log(2)))


def tilted(chances: Callable[[np.ndarray], np.ndarray], wanted: Sequence[float]) -> Law:
    """The law of least KL under which the classes have the wanted shares.

    Args:
        chances: coordinates (n,) to class probabilities (n, classes).
        wanted: share per class, summing to 1.

    Returns:
        The law; where none within nine standard deviations leads to the shares, its `missed` says by how much.
    """
    likely = chances(_GRID)
    base = norm.logpdf(_GRID)
    target = np.asarray(wanted, dtype=float)

    def dual(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logs = base + likely @ weights
        total = logsumexp(logs)
        share = np.exp(logs - total) @ likely
        return float(total - target @ weights), share - target

    # a tilt without bound is cut: it would buy the last tenth of a point with ever more nats
    found = minimize(dual, np.zeros(len(target)), jac=True, method="L-BFGS-B", bounds=[(-400, 400)] * len(target))
    return _missing(_from_logs(base + likely @ found.x), float(np.abs(dual(found.x)[1]).max()))


def reaching(chances: Callable[[np.ndarray], np.ndarray], place: int, success: float) -> Law:
    """The law of least KL under which a class is shown with a wanted probability, or as nearly as it can be."""
    return _from_logs(_towards(chances(_GRID)[:, place], success))


def clear(chances: Callable[[np.ndarray], np.ndarray], wanted: Sequence[float], success: float) -> Law:
    """The mixture, over the classes, of the laws of `reaching`, in such parts that the classes have the wanted shares.

    Args:
        chances: coordinates (n,) to class probabilities (n, classes).
        wanted: share per class, summing to 1.
        success: how often an image is to show the class that it is drawn for, as far as 12.5 nats lead.

    Returns:
        The law; the tilted one where no such parts lead to the shares and that comes nearer.
    """
    likely, target = chances(_GRID), np.asarray(wanted, dtype=float)
    logs = np.stack([_towards(likely[:, place], success, _FAR) for place in range(len(target))])
    each = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    # parts sum to 1 whatever the shares, so that row of the equations weighs more than the others
    parts, _ = nnls(np.vstack([(each @ likely).T, np.full(len(target), 1e3)]), np.append(target, 1e3))
    density = parts @ each / parts.sum()
    missed = float(np.abs(density @ likely - target).max())
    least = tilted(chances, wanted) if missed > _EXACT else None
    if least is not None and least.missed < missed:
        return least
    return _missing(_from_logs(np.log(density + 1e-300)), missed)


def _towards(likely: np.ndarray, success: float, nats: float = np.inf) -> np.ndarray:
    """Logarithms of the density, on the grid, of the least tilt that shows a class often enough, or costs as much."""
    base = norm.logpdf(_GRID)

    def enough(tilt: float) -> bool:
        total = logsumexp(base + tilt * likely)
        shown = float(np.exp(base + tilt * likely - total) @ likely)
        return shown >= success or tilt * shown - (total - logsumexp(base)) >= nats

    low, high = 0.0, 400.0
    if enough(0.0):
        return base
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return base + high * likely


def mixture(shifts: Sequence[float], shares: Sequence[float]) -> Law:
    """The law of a coordinate that is moved by each shift for a share of the images."""
    density = sum(share * norm.pdf(_GRID - by) for by, share in zip(shifts, shares, strict=True))
    return _from_logs(np.log(density + 1e-300))


def _missing(law: Law, missed: float) -> Law:
    """The law with what it misses the shares by; one that moves nothing and has them stays `SAME`."""
    return law if law is SAME and missed < _EXACT else dataclasses.replace(law, missed=missed)


def _from_logs(logs: np.ndarray) -> Law:
    """The law of a density on the grid."""
    weights = np.exp(logs - logsumexp(logs))
    plain = norm.logpdf(_GRID) - logsumexp(norm.logpdf(_GRID))
    kl = max(0.0, float(weights @ (np.log(np.maximum(weights, 1e-300)) - plain)))
    if kl < _NOTHING:
        return SAME
    below = np.cumsum(weights) - weights / 2
    rising = np.concatenate([[True], np.diff(below) > 1e-15])
    return Law(map=functools.partial(_quantile, below[rising], _GRID[rising]), kl=kl)


def _quantile(below: np.ndarray, places: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    return np.interp(norm.cdf(drawn), below, places)


def joint_kl(laws: Sequence[Law], gram: np.ndarray, draws: int = 8192) -> float:
    """Nats of several coordinates whose directions have the inner products `gram`.

    For shifts m it is m G^-1 m / 2. Otherwise, with s = T(s0) and s0 ~ N(0, G), it is the mean of
    log n(s0) - log |T'(s0)| - log n(s), over fixed draws.
    """
    if all(law is SAME for law in laws):
        return 0.0
    inverse = np.linalg.inv(gram)
    if all(law.shift is not None for law in laws):
        by = np.array([law.shift for law in laws], dtype=float)
        return float(by @ inverse @ by) / 2
    if np.allclose(gram, np.eye(len(laws)), atol=1e-3):
        return float(sum(law.kl for law in laws))
    normal = np.random.default_rng(0).standard_normal((draws, len(laws)))
    drawn = np.concatenate([normal, -normal]) @ np.linalg.cholesky(gram).T
    step = 1e-3
    moved = np.stack([law.map(drawn[:, k]) for k, law in enumerate(laws)], axis=1)
    slopes = [(law.map(drawn[:, k] + step) - law.map(drawn[:, k] - step)) / (2 * step) for k, law in enumerate(laws)]
    logs = sum(np.log(np.maximum(slope, 1e-6)) for slope in slopes)
    before, after = ((some @ inverse * some).sum(axis=1) for some in (drawn, moved))
    return max(0.0, float(np.mean((after - before) / 2 - logs)))
