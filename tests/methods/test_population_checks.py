"""A few images correct what predictions imply: the bias of all prompts at once, that of one prompt carefully."""

from __future__ import annotations

import math
import random

import pytest

from evenhand.methods.population_checks import bias_of, shifted, worth_of


def counts(women: int, men: int) -> dict[str, int]:
    return {"female": women, "male": men}


def even(*rows: str) -> dict[str, dict[str, float]]:
    return {row: {"female": 0.5, "male": 0.5} for row in rows}


ROWS = tuple(f"row {number}" for number in range(16))


def test_images_that_show_what_is_implied_say_no_bias() -> None:
    found = bias_of(even(*ROWS), {row: counts(16, 16) for row in ROWS})
    assert all(one == pytest.approx(0.0, abs=1e-9) for some in found.values() for one in some.values())


def test_a_bias_of_all_prompts_is_taken_off_almost_whole() -> None:
    found = bias_of(even(*ROWS), {row: counts(12, 20) for row in ROWS})
    for row in ROWS:
        assert shifted({"female": 0.5, "male": 0.5}, found[row])["female"] == pytest.approx(12 / 32, abs=0.005)


def test_one_prompt_is_drawn_to_the_others() -> None:
    seen = {row: counts(16, 16) for row in ROWS} | {"row 0": counts(0, 32)}
    found = bias_of(even(*ROWS), seen)
    # the mean of all is (15 x 16 + 0) / 512 = .469; 32 images against 48 that it is worth: .469 x 48 / 80
    assert shifted({"female": 0.5, "male": 0.5}, found["row 0"])["female"] == pytest.approx(0.469 * 0.6, abs=0.003)


def test_a_second_look_counts_with_the_first() -> None:
    seen = {row: counts(16, 16) for row in ROWS} | {"row 0": counts(8, 24)}
    first = bias_of(even(*ROWS), seen)
    second = bias_of(even(*ROWS), seen, first, 32)
    shares = [shifted({"female": 0.5, "male": 0.5}, one["row 0"])["female"] for one in (first, second)]
    assert 0.25 < shares[1] < shares[0] < 0.5


def test_three_classes_and_a_class_that_no_image_shows() -> None:
    implied = {row: {"light": 0.3, "medium": 0.3, "dark": 0.4} for row in ROWS}
    found = bias_of(implied, {row: {"light": 20, "medium": 12} for row in ROWS})
    share = shifted(implied["row 0"], found["row 0"])
    assert math.isclose(sum(share.values()), 1.0)
    assert share["dark"] < 0.03
    assert share["light"] / share["medium"] == pytest.approx(20 / 12, rel=0.02)


def test_rows_without_images_have_no_bias() -> None:
    assert set(bias_of(even("nurse", "baker"), {"nurse": counts(1, 1)})) == {"nurse"}
    assert bias_of({}, {}) == {}


NAMES = ("female", "male")


def test_quick_images_that_say_exactly_what_whole_ones_do_count_like_them() -> None:
    whole = {"nurse": ["female", "male"], "baker": ["male", "female"]}
    quick = {"nurse": ["female", "male", "female", "female"], "baker": ["male", "female", "male", None]}
    assert worth_of(quick, whole, NAMES) == {"nurse": counts(3, 1), "baker": counts(1, 2)}


def test_quick_images_that_say_nothing_count_for_nothing() -> None:
    # of those that look female in few steps one half is, and of the others too: kappa is 0
    whole = {"nurse": ["female", "male", "female", "male"]}
    quick = {"nurse": ["female", "female", "male", "male", "female", "female"]}
    assert worth_of(quick, whole, NAMES) == {"nurse": counts(2, 2)}


def test_a_quick_image_counts_for_the_classes_that_its_like_turned_out_to_be() -> None:
    whole = {"nurse": ["female"] * 8 + ["male"] * 2 + ["male"] * 10}
    quick = {"nurse": ["female"] * 10 + ["male"] * 10 + ["female"] * 5}
    found = worth_of(quick, whole, NAMES)["nurse"]
    # 18 of 20 pairs agree, by chance (10 x 8 + 10 x 12) / 20 = 10 would: kappa = 8 / 10
    assert found["female"] == pytest.approx(8 + 0.64 * 5 * 0.8)
    assert found["male"] == pytest.approx(12 + 0.64 * 5 * 0.2)


def test_a_bias_of_few_steps_is_taken_off() -> None:
    rng = random.Random(0)
    whole, quick = {}, {}
    for row in ROWS:
        true = [rng.random() < 0.5 for _ in range(400)]
        # one woman of ten looks like a man in few steps
        seen = ["female" if one and rng.random() < 0.9 else "male" for one in true]
        whole[row] = ["female" if one else "male" for one in true[:40]]
        quick[row] = seen
    found = worth_of(quick, whole, NAMES)
    share = sum(one["female"] for one in found.values()) / sum(sum(one.values()) for one in found.values())
    assert share == pytest.approx(0.5, abs=0.03)  # 640 pairs and 5,760 others: three standard errors are .03
    naive = sum(one.count("female") for one in quick.values()) / (400 * len(ROWS))
    assert naive < 0.47


def test_one_class_alone_is_no_disagreement() -> None:
    assert worth_of({"a": ["male"] * 5}, {"a": ["male"] * 2}, NAMES) == {"a": counts(0, 5)}


def test_without_quick_images_whole_ones_are_counted() -> None:
    assert worth_of({}, {"a": ["male", None, "female"]}, NAMES) == {"a": counts(1, 1)}
