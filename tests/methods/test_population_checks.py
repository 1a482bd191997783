"""A few images correct what predictions imply: the bias of all prompts at once, that of one prompt carefully."""

from __future__ import annotations

import math

import pytest

from evenhand.methods.population_checks import bias_of, shifted


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
