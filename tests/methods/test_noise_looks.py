"""What single rows need is read where their noises are drawn; the handle of all says whether there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from evenhand.methods.noise_looks import Looks, near_target


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
    parts = [Looks(rows=("a",), coordinates=(float(number),), labels=(0,)) for number in range(made)]
    assert near_target(parts).coordinates == tuple(float(number) for number in range(made - kept, made))
