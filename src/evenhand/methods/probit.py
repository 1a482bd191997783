"""How a coordinate of the initial noise decides what is perceived: an ordered probit with one slope for all prompts.

    y* = R s + sqrt(1 - R^2) e,  e ~ N(0, 1);  class j where y* lies between two cuts of the prompt
    P(class j or above | s) = Phi(b s - a_j),  b = R / sqrt(1 - R^2)

R is the handle's strength: R^2 is the share of what decides that the coordinate carries. Two classes give the usual
probit; more lie in the order in which the direction passes them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

_SPREAD, _STEEPEST = 2.0, 10.0
"""Standard deviations of weak normal priors on the cuts (of y*) and on the slope: a class that was never seen, or one
that the coordinate decides alone, has finite ones."""
_LEAST_GAP = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handle:
    """A fitted handle.

    Args:
        slope: b, per unit of the coordinate.
        error: its standard error.
        cuts: row -> a_j, rising, one fewer than there are classes; "" stands for a prompt of no row.
    """

    slope: float
    error: float
    cuts: Mapping[str, tuple[float, ...]]

    @property
    def strength(self) -> float:
        """R."""
        return self.slope / math.sqrt(1 + self.slope**2)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """Of R = tanh(x), from the normal interval of x = asinh(b) (Fisher's transformation)."""
        middle = math.asinh(self.slope)
        half = float(norm.ppf((1 + confidence) / 2)) * self.error / math.sqrt(1 + self.slope**2)
        return math.tanh(middle - half), math.tanh(middle + half)

    def cuts_of(self, row: str) -> np.ndarray:
        """Of a row, else of no row."""
        return np.asarray(self.cuts[row if row in self.cuts else ""])

    def chances(self, row: str, coordinates: np.ndarray) -> np.ndarray:
        """Class probabilities, (n, classes), at coordinates (n,)."""
        cuts = self.cuts_of(row)
        above = norm.cdf(self.slope * np.asarray(coordinates)[:, None] - cuts[None, :])
        edges = np.concatenate([np.ones((len(above), 1)), above, np.zeros((len(above), 1))], axis=1)
        return edges[:, :-1] - edges[:, 1:]

    def natural(self, row: str) -> np.ndarray:
        """Class shares where nothing is moved: Phi(-a_j / sqrt(1 + b^2)) from cut to cut."""
        cuts = self.cuts_of(row) / math.sqrt(1 + self.slope**2)
        above = np.concatenate([[1.0], norm.cdf(-cuts), [0.0]])
        return above[:-1] - above[1:]


def fit_handle(rows: Sequence[str], coordinates: Sequence[float], labels: Sequence[int], classes: int) -> Handle:
    """Maximum likelihood, with a weak prior on the cuts.

    Args:
        rows: the prompt row of every image.
        coordinates: of its noise, after whatever moved it.
        labels: number of the class that was perceived, in the direction's order.
        classes: how many there are.

    Raises:
        ValueError: no images.
    """
    if not rows:
        raise ValueError("no images; expected one or more")
    names = sorted(set(rows))
    place = np.array([names.index(row) for row in rows])
    s, y = np.asarray(coordinates, dtype=float), np.asarray(labels)

    def cuts_of(values: np.ndarray) -> np.ndarray:
        """In units of y*, where they are plain quantiles of the natural shares."""
        free = values[1:].reshape(len(names), classes - 1)
        return np.cumsum(np.concatenate([free[:, :1], np.exp(free[:, 1:]) + _LEAST_GAP], axis=1), axis=1)

    def loss(values: np.ndarray) -> float:
        cuts = cuts_of(values)
        scaled = (cuts * math.sqrt(1 + values[0] ** 2))[place]
        padded = np.concatenate([np.full((len(s), 1), -np.inf), scaled, np.full((len(s), 1), np.inf)], axis=1)
        low, high = (np.take_along_axis(padded, (y + k)[:, None], axis=1)[:, 0] for k in (0, 1))
        prior = (cuts**2).sum() / (2 * _SPREAD**2) + values[0] ** 2 / (2 * _STEEPEST**2)
        return float(prior - _log_between(values[0] * s - high, values[0] * s - low).sum())

    start = np.concatenate([[0.3], np.tile([-0.3] + [-0.5] * (classes - 2), len(names))])
    found = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 10**6})
    cuts = cuts_of(found.x) * math.sqrt(1 + found.x[0] ** 2)
    by_row = {name: tuple(float(one) for one in cuts[k]) for k, name in enumerate(names)}
    overall = tuple(float(one) for one in cuts.mean(axis=0))
    return Handle(slope=float(found.x[0]), error=_error(loss, found.x), cuts={"": overall, **by_row})


def _log_between(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """log(Phi(high) - Phi(low)), with its digits kept far out on either side."""
    flip = low + high > 0
    low, high = np.where(flip, -high, low), np.where(flip, -low, high)
    top, bottom = norm.logcdf(high), norm.logcdf(low)
    return top + np.log1p(-np.exp(np.minimum(bottom - top, -1e-12)))


def _error(loss: Callable[[np.ndarray], float], at: np.ndarray, step: float = 0.02) -> float:
    """Standard error of the first value, from the inverse of the numerical Hessian; infinite where it has none."""
    count, here = len(at), loss(at)
    unit = step * np.eye(count)
    single = np.array([[loss(at + sign * unit[k]) for sign in (-1, 1)] for k in range(count)])
    hessian = np.zeros((count, count))
    for i in range(count):
        hessian[i, i] = (single[i].sum() - 2 * here) / step**2
        for j in range(i):
            both = loss(at + unit[i] + unit[j]) + loss(at - unit[i] - unit[j])
            hessian[i, j] = hessian[j, i] = (both - single[i].sum() - single[j].sum() + 2 * here) / (2 * step**2)
    try:
        variance = float(np.linalg.inv(hessian)[0, 0])
    except np.linalg.LinAlgError:
        return math.inf
    return math.sqrt(variance) if variance > 0 else math.inf
