"""`check_metric`: the laws of an index of shares against a target."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from evenhand.metrics.indices import Index
from evenhand.metrics.intervals import goodman

_TARGETS: tuple[tuple[float, ...], ...] = ((0.5, 0.5), (0.3, 0.7), (1 / 3, 1 / 3, 1 / 3), (0.2, 0.3, 0.5))


def check_metric(index: Index, targets: Sequence[Sequence[float]] = _TARGETS) -> None:
    """Check the laws of an index.

    Args:
        index: what it is.
        targets: shares to check it against, each summing to 1.

    Raises:
        AssertionError: the law that does not hold, by name.
    """
    rng = np.random.default_rng(0)
    for target in targets:
        classes = len(target)
        some = rng.dirichlet(np.ones(classes), 50)
        values = index(some, target)
        largest = index.largest(target)
        _hold(abs(float(index(np.asarray(target), target))) < 1e-9, "it is 0 at the target")
        _hold(bool((values > 0).all()), "it is positive elsewhere")
        _hold(np.allclose(values, [float(index(one, target)) for one in some]), "many at once are each alone")
        for order in itertools.permutations(range(classes)):
            permuted = index(some[:, list(order)], [target[k] for k in order])
            _hold(np.allclose(values, permuted), "the order of the classes does not matter")
        _hold(bool((values <= largest + 1e-9).all()), "no shares are farther than one class alone")
        counts = rng.multinomial(40, some[0])
        shares = counts / 40
        low, high = index.interval(shares, target, goodman(counts.tolist()))
        value = float(index(shares, target))
        _hold(0 <= low <= value + 1e-12 and value - 1e-12 <= high <= largest + 1e-9, "its interval holds the value")
        halfway = (some + np.asarray(target)) / 2
        _hold(bool((index(halfway, target) <= values + 1e-12).all()), "halfway to the target it is smaller")


def _hold(holds: bool, law: str) -> None:
    if not holds:
        raise AssertionError(f"the law does not hold: {law}")
