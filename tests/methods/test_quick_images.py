"""Quick images: how many the work of whole ones makes, and what one of them counts for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from evenhand.methods.quick_images import Pairs, QuickPlan, chances_by_prompt


def chances_of(pairs: Pairs, names: Sequence[str]) -> np.ndarray:
    """Of a prompt that stands alone: what its pairs say is what those of all do."""
    return chances_by_prompt({"": pairs}, {}, names)[""]


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


NAMES = ("a", "b")


def test_prompts_that_are_alike_have_the_chances_of_all() -> None:
    pairs = {row: [("a", "a")] * 8 + [("a", "b")] * 2 + [("b", "b")] * 10 for row in ("nurse", "baker", "driver")}
    found = chances_by_prompt(pairs, dict.fromkeys(pairs, NAMES), NAMES)
    everywhere = [pair for some in pairs.values() for pair in some]
    for row in pairs:
        assert found[row] == pytest.approx(chances_of(everywhere, NAMES))


def test_prompts_that_are_not_have_their_own() -> None:
    # few steps are right of one prompt, and of the other's "a" one half is "b": n = 40, 40; mean .75, .25
    pairs = {
        "nurse": [("a", "a")] * 40 + [("b", "b")] * 40,
        "baker": [("a", "a")] * 20 + [("a", "b")] * 20 + [("b", "b")] * 40,
    }
    # within: (0 + 2 x 20 x .5) / 78 = .2564; between: 2 classes x 2 prompts x 40 x .25^2 = 10; so a prior precision
    # of (2 x .75 x .25) / ((10 - .2564) / 40) - 1 = .54, which is taken as one image
    found = chances_by_prompt(pairs, {"nurse": ["a"], "baker": ["a"]}, NAMES)
    nurse = np.array([(40 + 0.75) / 41, 0.25 / 41])
    baker = np.array([(20 + 0.75) / 41, (20 + 0.25) / 41])
    assert found["nurse"][0] / found["nurse"][0].sum() == pytest.approx(nurse)
    assert found["baker"][0] / found["baker"][0].sum() == pytest.approx(baker)


def test_quick_images_of_a_prompt_count_for_no_more_than_its_pairs_support() -> None:
    pairs = {
        "nurse": [("a", "a")] * 20 + [("b", "b")] * 20,
        "baker": [("a", "a")] * 10 + [("a", "b")] * 10 + [("b", "b")] * 20,
    }
    further = ["a"] * 5_000 + ["b"] * 5_000
    found = chances_by_prompt(pairs, dict.fromkeys(pairs, further), NAMES)
    # baker's 20 pairs of "a" and a prior of one image say 10.75 / 21 of "a": .5 of the quick ones know a share of .256
    # to .5^2 x .25 / 21 = .00297, which is what .256 x .744 / .00297 = 64 images would
    share = 10.75 / 21 / 2
    assert found["baker"].sum(axis=1) == pytest.approx(share * (1 - share) * 4 * 21 / 0.25 / 10_000, rel=0.02)
    assert found["nurse"].sum(axis=1).max() > found["baker"].sum(axis=1).max()


def test_a_bias_that_differs_between_prompts_is_taken_off_each() -> None:
    """1,000 quick images of each of eight prompts, 100 with a partner; few steps lose women here and men there."""
    rng = np.random.default_rng(4)
    true, shares, pooled = {}, {}, {}
    pairs: dict[str, list[tuple[str | None, str | None]]] = {}
    quick = {}
    for k in range(8):
        women = rng.random(1_000) < 0.5
        lost = rng.random(1_000) < 0.2
        read = women & ~lost if k % 2 else women | lost
        names = [("m", "f")[int(one)] for one in women]
        seen = [("m", "f")[int(one)] for one in read]
        row = f"row {k}"
        true[row] = float(women.mean())
        pairs[row], quick[row] = list(zip(seen[:100], names[:100], strict=True)), seen[100:]
    own = chances_by_prompt(pairs, quick, ("m", "f"))
    common = chances_of([pair for some in pairs.values() for pair in some], ("m", "f"))
    for row, some in quick.items():
        counts = np.array([some.count("m"), some.count("f")])
        shares[row], pooled[row] = (float((counts @ one)[1] / (counts @ one).sum()) for one in (own[row], common))
    miss = {
        name: float(np.sqrt(np.mean([(found[row] - true[row]) ** 2 for row in true])))
        for name, found in {"own": shares, "pooled": pooled}.items()
    }
    assert miss["own"] < 0.04  # 50 pairs of a class that one of six is not: .167 x .833 / 50 is .05 squared, for a half
    assert miss["pooled"] > 0.06
