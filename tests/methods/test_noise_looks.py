"""What single rows need is read where their noises are drawn; the handle of all says whether there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from evenhand.methods.noise_looks import Look, Looks, Seen, counted, near_target


def saturating(s: np.ndarray) -> np.ndarray:
    """P(class 1 | s) that no probit follows: .04 far below, .64 far above, .52 at 3.8."""
    return 0.04 + 0.6 * norm.cdf(s - 3)


def looks(row: str, middle: float, count: int, seed: int) -> Looks:
    rng = np.random.default_rng(seed)
    s = rng.normal(middle, 1.0, count)
    labels = (rng.random(count) < saturating(s)).astype(int)
    return Looks(rows=(row,) * count, coordinates=tuple(s.tolist()), labels=tuple(labels.tolist()))


def test_rows_take_what_the_images_near_their_target_say() -> None:
    near = looks("nurse", 3.8, 4_000, 1)
    whole = (looks("nurse", 0.0, 4_000, 2) + looks("nurse", 8.0, 4_000, 3) + near).handle(2)
    found, places = near.within(whole, 2), np.random.default_rng(4).normal(3.8, 1.0, 20_000)
    truth = saturating(places).mean()
    far, here = (one.chances("nurse", places)[:, 1].mean() for one in (whole, found))
    assert here == pytest.approx(truth, abs=0.02)
    assert abs(here - truth) < abs(far - truth) / 2


def test_other_rows_and_the_common_handle_stay() -> None:
    whole = (looks("nurse", 1.0, 500, 5) + looks("baker", 1.0, 500, 6)).handle(2)
    found = looks("nurse", 3.0, 500, 7).within(whole, 2)
    assert (found.slope, found.error, found.interval()) == (whole.slope, whole.error, whole.interval())
    assert found.cuts["baker"] == whole.cuts["baker"]
    assert found.cuts[""] == whole.cuts[""]
    assert found.slopes["baker"] == whole.slopes["baker"]
    assert found.cuts["nurse"] != whole.cuts["nurse"]


def test_no_images_change_nothing() -> None:
    whole = looks("nurse", 1.0, 500, 8).handle(2)
    assert Looks().within(whole, 2) is whole


@pytest.mark.parametrize(("made", "kept"), [(2, 0), (3, 3), (4, 3), (5, 3), (6, 4), (9, 7)])
def test_what_a_row_needs_is_read_from_all_parts_but_the_first_two(made: int, kept: int) -> None:
    parts = [Look((Seen("a", number, 0.0, "x"),)) for number in range(made)]
    assert [one.number for one in near_target(parts).whole] == list(range(made - kept, made))


def seen(row: str, labels: str, first: int = 0) -> tuple[Seen, ...]:
    """Images of a row, one for each letter; "-" where the class cannot be told."""
    return tuple(
        Seen(row, number, float(number), None if one == "-" else one) for number, one in enumerate(labels, start=first)
    )


def test_quick_images_count_once_for_each_class_that_they_may_be_of() -> None:
    # 8 of the 10 pairs of "a" are one, all 10 of "b"; by chance half of all would agree: kappa = (18 - 10) / 10
    whole = seen("nurse", "a" * 8 + "b" * 2 + "b" * 10)
    quick = seen("nurse", "a" * 10 + "b" * 10 + "a-b")
    found = counted(Look(whole, quick), ("a", "b"))
    assert found.coordinates == (*map(float, range(20)), 20.0, 20.0, 22.0)
    assert found.labels == (*[0] * 8, *[1] * 12, 0, 1, 1)
    assert found.weights[:20] == (1.0,) * 20
    assert found.weights[20:] == pytest.approx((0.64 * 0.8, 0.64 * 0.2, 0.64))
    assert found.worth == pytest.approx(20 + 2 * 0.64)


def test_without_quick_images_whole_ones_count() -> None:
    assert counted(Look(seen("a", "x-y")), ("x", "y")) == Looks(
        rows=("a", "a"), coordinates=(0.0, 2.0), labels=(0, 1), weights=(1.0, 1.0)
    )
    assert counted(Look(), ("x", "y")) == Looks()


def test_quick_images_bring_the_share_that_whole_ones_have() -> None:
    """1,200 quick images that read one woman of ten as a man, and 100 of them in all steps too, as in a fit."""
    rng = np.random.default_rng(9)
    whole, quick = [], []
    for row in ("nurse", "baker", "driver", "writer"):
        s = rng.normal(2.0, 1.0, 1_200)
        women = rng.random(len(s)) < norm.cdf(0.6 * s - 1.2)
        read = women & (rng.random(len(s)) < 0.9)
        quick += [Seen(row, k, float(s[k]), "f" if read[k] else "m") for k in range(len(s))]
        whole += [Seen(row, k, float(s[k]), "f" if women[k] else "m") for k in range(100)]
    places = rng.normal(2.0, 1.0, 20_000)
    handle = counted(Look(tuple(whole), tuple(quick)), ("m", "f")).handle(2)
    shares = [handle.chances(row, places)[:, 1].mean() for row in ("nurse", "baker", "driver", "writer")]
    # probit of slope .6 at a mean of 2: Phi(0 / sqrt(1 + .36)) = one half; quick ones alone would say .45
    assert shares == pytest.approx([0.5] * 4, abs=0.05)
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)
