"""Quick images: how many the work of whole ones makes, and what one of them counts for."""

from __future__ import annotations

import numpy as np
import pytest

from evenhand.methods.quick_images import QuickPlan, chances_of


def test_a_plan_spends_the_work_of_its_images() -> None:
    plan = QuickPlan.of(64, steps=25)
    # 16 in 25 steps, and the remaining 48 x 25 steps in images of 6: 200, of which 16 repeat the whole ones
    assert plan == QuickPlan(whole=16, quick=184, steps=6)
    assert plan.whole * 25 + (plan.whole + plan.quick) * 6 <= 64 * 25


@pytest.mark.parametrize("steps", [1, 4, 8, 11])
def test_a_sampler_of_few_steps_has_no_quick_images(steps: int) -> None:
    assert QuickPlan.of(64, steps) == QuickPlan(whole=64)


def test_pairs_say_what_a_quick_image_counts_for() -> None:
    # 8 + 10 of 20 pairs agree, (10 x 8 + 10 x 12) / 20 = 10 would by chance: kappa = (18 - 10) / (20 - 10) = .8
    pairs = [("a", "a")] * 8 + [("a", "b")] * 2 + [("b", "b")] * 10 + [("a", None), (None, "b")]
    assert chances_of(pairs, ("a", "b")) == pytest.approx(0.64 * np.array([[0.8, 0.2], [0.0, 1.0]]))


def test_a_class_that_no_pair_has_keeps_its_name() -> None:
    assert chances_of([("a", "a")] * 3, ("a", "b")) == pytest.approx(np.eye(2))


def test_without_pairs_nothing_counts() -> None:
    assert not chances_of([], ("a", "b", "c")).any()
