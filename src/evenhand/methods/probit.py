"""How a coordinate of the initial noise decides what is perceived: an ordered probit with cuts for every prompt.

    y* = R s + sqrt(1 - R^2) e,  e ~ N(0, 1);  class j where y* lies between two cuts of the prompt
    P(class j or above | s) = Phi(b s - a_j),  b = R / sqrt(1 - R^2)

R is the handle's strength: R^2 is the share of what decides that the coordinate carries. Two classes give the usual
probit; more lie in the order in which the direction passes them. One slope is fitted through all prompts, and says
whether there is a handle; each prompt then gets its own, drawn to that one as far as it has too few images.
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
_ALIKE = 0.5
"""Standard deviation of the logarithm of a prompt's own slope around that of all, a priori."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Handle:
    """A fitted handle.

    Args:
        slope: b, per unit of the coordinate.
        error: its standard error.
        cuts: row -> a_j, rising, one fewer than there are classes; "" stands for a prompt of no row.
        slopes: row -> a slope of its own, where it has one.
    """

    slope: float
    error: float
    cuts: Mapping[str, tuple[float, ...]]
    slopes: Mapping[str, float] = dataclasses.field(default_factory=dict)

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

    def slope_of(self, row: str) -> float:
        """Of a row, else that of all."""
        return self.slopes.get(row, self.slope)

    def chances(self, row: str, coordinates: np.ndarray) -> np.ndarray:
        """Class probabilities, (n, classes), at coordinates (n,)."""
        cuts = self.cuts_of(row)
        above = norm.cdf(self.slope_of(row) * np.asarray(coordinates)[:, None] - cuts[None, :])
        edges = np.concatenate([np.ones((len(above), 1)), above, np.zeros((len(above), 1))], axis=1)
        return edges[:, :-1] - edges[:, 1:]

    def natural(self, row: str) -> np.ndarray:
        """Class shares where nothing is moved: Phi(-a_j / sqrt(1 + b^2)) from cut to cut."""
        cuts = self.cuts_of(row) / math.sqrt(1 + self.slope_of(row) ** 2)
        above = np.concatenate([[1.0], norm.cdf(-cuts), [0.0]])
        return above[:-1] - above[1:]


def fit_handle(
    rows: Sequence[str],
    coordinates: Sequence[float],
    labels: Sequence[int],
    classes: int,
    *,
    own: bool = False,
    weights: Sequence[float] | None = None,
) -> Handle:
    """Maximum likelihood, with weak priors.

    Args:
        rows: the prompt row of every image.
        coordinates: of its noise, after whatever moved it.
        labels: number of the class that was perceived, in the direction's order.
        classes: how many there are.
        own: True gives every row a slope of its own, where the common one is positive.
        weights: by which each counts, above 0; None for one each.

    Raises:
        ValueError: no images.
    """
    if not rows:
        raise ValueError("no images; expected one or more")
    names = sorted(set(rows))
    place = np.array([names.index(row) for row in rows])
    s, y = np.asarray(coordinates, dtype=float), np.asarray(labels)
    w = np.ones(len(s)) if weights is None else np.asarray(weights, dtype=float)
    common = _Likelihood(place=place, s=s, y=y, w=w, classes=classes, prior=lambda b: b**2 / (2 * _STEEPEST**2))
    start = np.concatenate([[0.3], np.tile([-0.3] + [-0.5] * (classes - 2), len(names))])
    best = common.fit(start)
    slope, cuts = float(best[0]), common.scaled_cuts(best)
    by_row = {name: tuple(float(one) for one in cuts[k]) for k, name in enumerate(names)}
    overall = tuple(float(one) for one in cuts.mean(axis=0))
    slopes: dict[str, float] = {}
    for k, name in enumerate(names if own and slope > 0 else ()):
        there = place == k
        alone = _Likelihood(
            place=np.zeros(int(there.sum()), dtype=int),
            s=s[there],
            y=y[there],
            w=w[there],
            classes=classes,
            prior=_near(slope),
        )
        found = alone.fit(np.concatenate([[slope], best[1:].reshape(len(names), classes - 1)[k]]))
        slopes[name], by_row[name] = float(found[0]), tuple(float(one) for one in alone.scaled_cuts(found)[0])
    return Handle(slope=slope, error=_error(common, best), cuts={"": overall, **by_row}, slopes=slopes)


def _near(slope: float) -> Callable[[float], float]:
    """Minus the logarithm of the prior of a row's slope; one that is not positive is kept away from zero."""
    return lambda b: (math.log(max(b, 1e-3) / slope) / _ALIKE) ** 2 / 2 + max(0.0, 1e-3 - b) * 1e3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Likelihood:
    """Minus the logarithm of the posterior of a slope and, for each row, of cuts in units of y*.

    In these units cuts are plain quantiles of the natural shares.
    """

    place: np.ndarray
    s: np.ndarray
    y: np.ndarray
    w: np.ndarray
    classes: int
    prior: Callable[[float], float]

    def fit(self, start: np.ndarray) -> np.ndarray:
        return minimize(self, start, method="L-BFGS-B", options={"maxiter": 500, "maxfun": 10**6}).x

    def cuts(self, values: np.ndarray) -> np.ndarray:
        """(rows, classes - 1), rising."""
        free = values[1:].reshape(-1, self.classes - 1)
        return np.cumsum(np.concatenate([free[:, :1], np.exp(free[:, 1:]) + _LEAST_GAP], axis=1), axis=1)

    def scaled_cuts(self, values: np.ndarray) -> np.ndarray:
        """The same in units of the probit, a_j."""
        return self.cuts(values) * math.sqrt(1 + values[0] ** 2)

    def __call__(self, values: np.ndarray) -> float:
        scaled = self.scaled_cuts(values)[self.place]
        edge = np.full((len(self.s), 1), np.inf)
        padded = np.concatenate([-edge, scaled, edge], axis=1)
        low, high = (np.take_along_axis(padded, (self.y + k)[:, None], axis=1)[:, 0] for k in (0, 1))
        prior = (self.cuts(values) ** 2).sum() / (2 * _SPREAD**2) + self.prior(float(values[0]))
        return float(prior - self.w @ _log_between(values[0] * self.s - high, values[0] * self.s - low))


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
