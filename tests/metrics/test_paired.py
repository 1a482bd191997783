"""Paired comparisons: intervals, tests and their arithmetic."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import chi2, norm
from statsmodels.stats.contingency_tables import SquareTable
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar

from evenhand.concepts.concept import Concept, ConceptClass
from evenhand.concepts.library import load_concept
from evenhand.metrics.changes import attribute_changes
from evenhand.metrics.intervals import wilson
from evenhand.metrics.paired import (
    deviation_change,
    mcnemar,
    mean_difference,
    paired_difference,
    paired_ratio,
    squared_deviation_change,
    stuart_maxwell,
    swap_test,
)


def pairs(a: int, b: int, c: int, d: int) -> tuple[list[bool], list[bool]]:
    """a pairs are true in both, b only after, c only before, d in none."""
    after = [True] * (a + b) + [False] * (c + d)
    before = [True] * a + [False] * b + [True] * c + [False] * d
    return before, after


def test_newcombe_by_hand() -> None:
    # a, b, c, d = 20, 12, 2, 16 of 50: rates .64 after and .44 before
    before, after = pairs(20, 12, 2, 16)
    value, (low, high) = paired_difference(before, after)
    assert value == pytest.approx(0.64 - 0.44)
    l1, u1 = wilson(32, 50)
    l2, u2 = wilson(22, 50)
    # ad - bc = 320 - 24 = 296, less n/2 = 25; divided by sqrt(32 * 18 * 22 * 28)
    phi = (296 - 25) / math.sqrt(32 * 18 * 22 * 28)
    below = math.sqrt((0.64 - l1) ** 2 - 2 * phi * (0.64 - l1) * (u2 - 0.44) + (u2 - 0.44) ** 2)
    above = math.sqrt((0.44 - l2) ** 2 - 2 * phi * (0.44 - l2) * (u1 - 0.64) + (u1 - 0.64) ** 2)
    assert (low, high) == pytest.approx((0.2 - below, 0.2 + above))
    # the published form with phi uncorrected where it is negative, and 0 at a margin
    assert paired_difference(*pairs(0, 5, 5, 0))[0] == 0
    assert paired_difference(*pairs(5, 0, 0, 0))[1][0] < 0 < paired_difference(*pairs(5, 0, 0, 0))[1][1]


def test_identical_arms_have_no_change_and_a_small_interval() -> None:
    value, (low, high) = paired_difference(*pairs(50, 0, 0, 50))
    assert value == 0
    assert low == pytest.approx(-high)
    assert high < 0.03


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_swapping_the_arms_turns_the_interval_around(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    before, after = pairs(a, b, c, d)
    value, (low, high) = paired_difference(before, after)
    back, (low2, high2) = paired_difference(after, before)
    assert -1 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    assert (back, low2, high2) == pytest.approx((-value, -high, -low), abs=1e-12)


def test_it_covers() -> None:
    # 95 % intervals at 40 pairs with correlated answers: between 93 and 98 % of 2,000 samples
    rng = np.random.default_rng(5)
    probabilities, truth = [0.5, 0.2, 0.05, 0.25], 0.15
    covered = 0
    for counts in rng.multinomial(40, probabilities, size=2000):
        low, high = paired_difference(*pairs(*counts.tolist()))[1]
        covered += low <= truth <= high
    assert 0.93 <= covered / 2000 <= 0.98


def test_a_ratio_by_hand() -> None:
    # 26 after, 22 before, 30 in either, 12 changed
    before, after = pairs(18, 8, 4, 20)
    ratio, (low, high) = paired_ratio(before, after)
    assert ratio == pytest.approx(26 / 22)
    one, two = (math.sqrt((1 - (k + 1) / 32) / (k + 1)) for k in (26, 22))
    z = 1.959964 * math.sqrt(14 / (27 * 23)) / (one + two)
    wilsons = [
        [(2 * k + z * z + sign * z * math.sqrt(z * z + 4 * k * (1 - k / 30))) / (2 * (30 + z * z)) for sign in (-1, 1)]
        for k in (26, 22)
    ]
    assert low == pytest.approx(wilsons[0][0] / wilsons[1][1], rel=1e-6)
    assert high == pytest.approx(wilsons[0][1] / wilsons[1][0], rel=1e-6)
    # pairs that show it in neither say nothing about a ratio
    assert paired_ratio(*pairs(18, 8, 4, 2000)) == (ratio, (low, high))


def test_a_ratio_of_what_was_never_seen() -> None:
    assert paired_ratio(*pairs(0, 0, 0, 9)) == (None, (0.0, None))
    ratio, (low, high) = paired_ratio(*pairs(0, 0, 9, 9))
    assert (ratio, low) == (0, 0)
    assert high is not None
    assert high < 1


def test_a_ratio_covers() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        shared = rng.random(150) < 0.3
        before, after = shared | (rng.random(150) < 0.1), shared & (rng.random(150) < 0.8)
        _, (low, high) = paired_ratio(before.tolist(), after.tolist())
        held += low <= 0.24 / 0.37 <= (high or math.inf)
    assert held / 400 >= 0.92


@pytest.mark.parametrize("table", [(10, 8, 2, 10), (5, 0, 0, 5), (0, 7, 1, 0), (3, 4, 4, 3)])
def test_mcnemar_is_the_exact_one(table: tuple[int, int, int, int]) -> None:
    before, after = pairs(*table)
    a, b, c, d = table
    expected = 1.0 if b + c == 0 else reference_mcnemar([[a, b], [c, d]], exact=True).pvalue
    assert mcnemar(before, after) == pytest.approx(expected)


def test_a_mean_of_changes_adds_intervals_of_a_lower_level() -> None:
    # two rows of one table have equal half-widths: z' is z / sqrt 2, raised by the root of 1 + (1 - 1/2) / 39
    row = pairs(12, 14, 4, 10)
    z = norm.ppf(0.975) / math.sqrt(2) * math.sqrt(1 + 0.5 / 39)
    expected = paired_difference(*row, 2 * norm.cdf(z) - 1)
    assert mean_difference([row, row]) == (pytest.approx(expected[0]), pytest.approx(expected[1]))
    assert mean_difference([row]) == paired_difference(*row)
    # and the mean is that of the rows, whatever their sizes
    assert mean_difference([pairs(0, 4, 0, 0), pairs(0, 0, 0, 40)])[0] == pytest.approx(0.5)


@pytest.mark.parametrize(("rows", "size"), [(8, 20), (8, 4), (16, 8), (3, 20)])
@pytest.mark.parametrize(("before", "after"), [(0.08, 0.8), (0.8, 0.02), (0.01, 0.05), (0.5, 0.5)])
def test_a_mean_of_changes_covers_at_extreme_rates(rows: int, size: int, before: float, after: float) -> None:
    rng = np.random.default_rng([rows, size, round(100 * before)])
    held = 0
    for _ in range(300):
        drawn = [((rng.random(size) < before).tolist(), (rng.random(size) < after).tolist()) for _ in range(rows)]
        low, high = mean_difference(drawn)[1]
        held += low <= after - before <= high
    # squared and added, the intervals of (8, 4) hold .89 of the first and .88 of the second; a standard error is .012
    assert held / 300 >= 0.92


def test_the_deviation_by_hand() -> None:
    # 10 images: 9 to 1 before, 5 to 5 after; 1/2 sum (p - q)^2 - p (1 - p) / 9 each
    before, after = [[0] * 9 + [1]], [[0] * 5 + [1] * 5]
    old, new = (0.16 + 0.16 - 2 * 0.09 / 9) / 2, (0 - 2 * 0.25 / 9) / 2
    change, error = squared_deviation_change(before, after, (0.5, 0.5))
    assert change == pytest.approx(new - old)
    assert error > 0
    value, (low, high) = deviation_change(before, after, (0.5, 0.5))
    assert value == pytest.approx(0 - math.sqrt(old))
    assert low <= value <= high


def test_opposite_biases_do_not_cancel() -> None:
    skewed = [[0] * 20, [1] * 20]
    even = [[0, 1] * 10, [0, 1] * 10]
    assert deviation_change(skewed, even, (0.5, 0.5))[0] == pytest.approx(-0.5)
    assert deviation_change(even, skewed, (0.5, 0.5))[0] == pytest.approx(0.5)
    value, (low, high) = deviation_change(skewed, skewed, (0.5, 0.5))
    assert value == 0
    assert low == pytest.approx(-high)


def test_pairs_that_did_not_change_leave_room_for_two_that_do() -> None:
    # 20 pairs of one class: the miss is (.5, -.5), a move is worth 1 / 20^2 + 2 / 20^4; two of them in two prompts
    row = [0] * 20
    expected = math.sqrt(2 * (1 / 400 + 2 / 160_000)) / 2
    assert squared_deviation_change([row, row], [row, row], (0.5, 0.5)) == (0.0, pytest.approx(expected))
    # the same of three classes, at the target: only 2 / n^4 is left
    even = [0, 1, 2] * 4
    assert squared_deviation_change([even], [even], (1 / 3,) * 3)[1] == pytest.approx(math.sqrt(4 / 12**4))


def test_of_two_pairs_the_square_of_the_change_is_its_variance() -> None:
    # eight prompts go from .25 (two of a class) to -.25 (one of each): the root of 8 x .5^2 is shared by eight
    found = squared_deviation_change([[0, 0]] * 8, [[0, 1]] * 8, (0.5, 0.5))
    assert found == (pytest.approx(-0.5), pytest.approx(math.sqrt(2) / 8))


@pytest.mark.parametrize("pairs", [2, 4, 8, 32])
@pytest.mark.parametrize("case", ["independent", "kept", "rare", "evened"])
def test_the_squared_change_of_few_pairs_covers(pairs: int, case: str) -> None:
    """16 prompts with shares of .55 to .98: drawn anew, nearly all kept, all at .97, and halfway to .5."""
    old = np.full(16, 0.97) if case == "rare" else np.linspace(0.55, 0.98, 16)
    new = (old + 0.5) / 2 if case == "evened" else old
    truth, kept = float(np.mean((new - 0.5) ** 2 - (old - 0.5) ** 2)), {"independent": 0.0}.get(case, 0.9)
    rng = np.random.default_rng([pairs, len(case)])
    draws, held, errors, changes = 120 if pairs < 32 else 40, 0, [], []
    for _ in range(draws):
        first = rng.random((16, pairs))
        second = np.where(rng.random(first.shape) < kept, first, rng.random(first.shape))
        before, after = ((one < p[:, None]).astype(int).tolist() for one, p in ((first, old), (second, new)))
        change, error = squared_deviation_change(before, after, (0.5, 0.5))
        held += abs(change - truth) <= 1.96 * error
        errors.append(error)
        changes.append(change)
    # with an error of 0 for two pairs .17 of the independent ones held it
    assert held / draws >= 0.9
    # and it is the error that there is, as far as few pairs can tell
    assert np.mean(errors) >= 0.9 * np.std(changes)


@pytest.mark.parametrize("pairs", [2, 8, 32])
@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [(0.95, 0.6, 0.0), (0.95, 0.5, 0.0), (0.6, 0.95, 0.0), (0.55, 0.52, 0.0), (0.9, 0.9, 0.9), (0.5, 0.5, 0.9)],
)
def test_the_change_of_the_deviation_covers(pairs: int, before: float, after: float, kept: float) -> None:
    rng = np.random.default_rng([pairs, round(100 * before), round(100 * after)])
    draws, held, widths = 60 if pairs < 32 else 30, 0, []
    for _ in range(draws):
        first = rng.random((16, pairs))
        second = np.where(rng.random(first.shape) < kept, first, rng.random(first.shape))
        old, new = ((one < share).astype(int).tolist() for one, share in ((first, before), (second, after)))
        value, (low, high) = deviation_change(old, new, (0.5, 0.5))
        assert low <= value <= high
        held += low <= abs(after - 0.5) - abs(before - 0.5) <= high
        widths.append(high - low)
    # the squares' interval over the sum of the roots held .72 to .82 of the first three cases from 8 pairs on
    assert held / draws >= 0.9
    assert max(widths) < 1.0  # and was a million wide at the target, where both roots may be 0


def test_the_change_of_the_deviation_turns_round_with_its_arms() -> None:
    rng = np.random.default_rng(3)
    old, new = ((rng.random((6, 20)) < share).astype(int).tolist() for share in (0.9, 0.55))
    (value, (low, high)), (back, (least, most)) = (
        deviation_change(*arms, (0.5, 0.5)) for arms in ((old, new), (new, old))
    )
    assert (value, low, high) == (pytest.approx(-back), pytest.approx(-most), pytest.approx(-least))


def test_the_swap_test_finds_a_change_and_no_other() -> None:
    rng = np.random.default_rng(1)
    before = [rng.binomial(1, 0.9, 40).tolist() for _ in range(6)]
    after = [rng.binomial(1, 0.5, 40).tolist() for _ in range(6)]
    assert swap_test(before, after, (0.5, 0.5), draws=199) == pytest.approx(1 / 200)
    same = [rng.binomial(1, 0.9, 40).tolist() for _ in range(6)]
    assert swap_test(before, same, (0.5, 0.5), draws=199) > 0.01


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(ValueError, match="3 and 2 values"):
        paired_difference([True] * 3, [True] * 2)


def test_a_paired_change_carries_the_p_value_of_its_test() -> None:
    before = {"a": ["x"] * 9 + ["y"], "b": ["y"] * 10}
    after = {"a": ["y"] * 10, "b": ["y"] * 9 + [None]}
    concept = Concept(
        name="c", classes=(ConceptClass(name="x", phrases=("x",)), ConceptClass(name="y", phrases=("y",)))
    )
    found = {
        (one.metric, one.class_name, one.prompt): one
        for one in attribute_changes(concept, before, after, intervention="i")
    }
    # nine pairs changed, all one way: 2 / 2^9
    assert found["change:share", "x", "a"].p_value == pytest.approx(2 / 512)
    assert found["change:share", "x", "b"].p_value == 1.0
    assert found["change:share", "x", None].p_value == pytest.approx(2 / 512)
    deviation = found["change:deviation", None, None]
    assert deviation.p_value is not None
    assert 0.0 < deviation.p_value <= 1.0
    assert deviation.to_dict()["p_value"] == deviation.p_value


@given(table=st.lists(st.lists(st.integers(0, 12), min_size=3, max_size=3), min_size=3, max_size=3))
def test_stuart_maxwell_is_that_of_statsmodels(table: list[list[int]]) -> None:
    assume(all(table[k][m] + table[m][k] > 0 for k in range(3) for m in range(k)))
    pairs = [("abc"[k], "abc"[m]) for k in range(3) for m in range(3) for _ in range(table[k][m])]
    expected = SquareTable(np.array(table, dtype=float), shift_zeros=False).homogeneity(method="stuart_maxwell").pvalue
    assert stuart_maxwell(*zip(*pairs, strict=True)) == pytest.approx(expected, abs=1e-9)


def test_stuart_maxwell_of_two_classes_is_mcnemars_chi_squared() -> None:
    # 9 pairs went up and 1 down: (9 - 1)^2 / (9 + 1) = 6.4, one degree of freedom
    before, after = ["a"] * 9 + ["b"] * 1 + ["a"] * 5, ["b"] * 9 + ["a"] * 1 + ["a"] * 5
    assert stuart_maxwell(before, after) == pytest.approx(chi2.sf(6.4, 1))


def test_pairs_that_do_not_change_say_nothing_against_equal_shares() -> None:
    assert stuart_maxwell(["a", "b", "c"], ["a", "b", "c"]) == 1.0


def test_with_three_classes_every_share_carries_the_p_value_of_all_of_them() -> None:
    before, after = ["light"] * 10 + ["dark"] * 2, ["medium"] * 8 + ["light"] * 2 + ["dark"] * 2
    found = attribute_changes(load_concept("skin"), {"nurse": before}, {"nurse": after}, intervention="arm")
    shares = [one for one in found if one.metric == "change:share"]
    assert len(shares) == 6  # three classes, the row and over rows
    assert {one.p_value for one in shares} == {stuart_maxwell(before, after)}
