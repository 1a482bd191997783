"""What a perfectly fair sampler scores."""

from __future__ import annotations

from itertools import product
from math import factorial, prod

import numpy as np
import pytest

from evenhand.metrics.floor import mean_floor, row_floor
from evenhand.metrics.indices import DEVIATION_RATIO, FAIRNESS_DISCREPANCY, INDICES, KL
from evenhand.metrics.rows import Row

EVEN, THIRDS = (0.5, 0.5), (1 / 3,) * 3


def iid(*counts: int) -> Row:
    return Row("row", tuple("abcdef"[: len(counts)]), (counts,), (None,), 0)


def stratified(*strata: tuple[int, ...]) -> Row:
    classes = tuple("abcdef"[: len(strata[0])])
    return Row("row", classes, strata, classes[: len(strata)], 0)


def test_the_published_floors_at_fifty_images() -> None:
    mean, quantile = row_floor(DEVIATION_RATIO, iid(25, 25), EVEN) or (0, 0)
    assert (round(mean, 3), quantile) == (0.112, pytest.approx(0.28, abs=1e-12))
    mean, quantile = row_floor(DEVIATION_RATIO, iid(20, 20, 10), THIRDS) or (0, 0)
    assert (mean, quantile) == (pytest.approx(0.120, abs=0.001), pytest.approx(0.23, abs=1e-12))


def test_two_classes_by_hand() -> None:
    # two fair images: 1/4, 1/2, 1/4 for 0, 1, 2 of the first class; ratios 1, 0, 1
    assert row_floor(DEVIATION_RATIO, iid(2, 0), EVEN) == (pytest.approx(0.5, abs=1e-12), pytest.approx(1.0))


@pytest.mark.parametrize("index", INDICES, ids=lambda index: index.name)
def test_more_classes_agree_with_full_enumeration(index: object) -> None:
    target, n = (0.2, 0.3, 0.5), 8
    outcomes = [counts for counts in product(range(n + 1), repeat=3) if sum(counts) == n]
    weights = [
        factorial(n) / prod(map(factorial, counts)) * prod(q**k for q, k in zip(target, counts, strict=True))
        for counts in outcomes
    ]
    values = index(np.array(outcomes) / n, target)  # type: ignore[operator]
    mean, _ = row_floor(index, iid(3, 3, 2), target) or (0, 0)  # type: ignore[arg-type]
    # 20,000 draws: four standard errors
    assert mean == pytest.approx(float(values @ weights), abs=4 * float(values.std()) / 20_000**0.5)


def test_the_floor_falls_with_more_images_and_depends_on_nothing_observed() -> None:
    floors = [row_floor(DEVIATION_RATIO, iid(n, 0), EVEN) or (0, 0) for n in (10, 50, 200)]
    assert floors == sorted(floors, reverse=True)
    assert row_floor(DEVIATION_RATIO, iid(50, 0), EVEN) == row_floor(DEVIATION_RATIO, iid(25, 25), EVEN)


def test_a_fair_sampler_under_quotas_scores_nothing_but_their_rounding() -> None:
    # whatever was seen, it would have shown 25 and 25
    assert row_floor(DEVIATION_RATIO, stratified((20, 5), (15, 10)), EVEN) == (0.0, 0.0)
    # quotas of 26 and 25 images: |26/51 - 1/2| / (1/2) = 1/51
    found = row_floor(DEVIATION_RATIO, stratified((26, 0), (0, 25)), EVEN)
    assert found == (pytest.approx(1 / 51, abs=1e-12), pytest.approx(1 / 51, abs=1e-12))


def test_the_floor_of_a_mean_keeps_the_mean_and_has_a_smaller_quantile() -> None:
    rows = [iid(25, 25)] * 16
    one, many = row_floor(DEVIATION_RATIO, rows[0], EVEN) or (0, 0), mean_floor(DEVIATION_RATIO, rows, EVEN) or (0, 0)
    assert many[0] == pytest.approx(one[0], abs=1e-12)
    # sd of one ratio is about .085; 16 rows: .112 + 1.645 x .085 / 4 = .147
    assert many[1] == pytest.approx(0.147, abs=0.005)
    assert mean_floor(FAIRNESS_DISCREPANCY, [stratified((5, 5), (5, 5))], EVEN) == (0.0, 0.0)


def test_no_images_and_no_support_have_no_floor() -> None:
    assert row_floor(DEVIATION_RATIO, iid(0, 0), EVEN) is None
    assert mean_floor(DEVIATION_RATIO, [iid(0, 0)], EVEN) is None
    assert row_floor(KL, iid(5, 5), (1.0, 0.0)) is None


def test_the_same_seed_gives_the_same_floor() -> None:
    assert row_floor(KL, iid(9, 9, 9), THIRDS, 3) == row_floor(KL, iid(9, 9, 9), THIRDS, 3)
    assert row_floor(KL, iid(9, 9, 9), THIRDS, 3) != row_floor(KL, iid(9, 9, 9), THIRDS, 4)
