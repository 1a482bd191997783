"""Images from noises that all prompts share say more of how prompts differ, and no less of what they have in common."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.methods.shared_noises import counted, is_shared

ROWS = tuple(f"row {number}" for number in range(16))


def votes_of(women: np.ndarray) -> dict[str, np.ndarray]:
    """(rows, images) of 0 and 1 as votes for two classes."""
    return {f"row {number}": np.stack([some, 1 - some], axis=1) for number, some in enumerate(women.astype(float))}


def drawn(rng: np.random.Generator, shares: np.ndarray, images: int, alike: float) -> dict[str, np.ndarray]:
    """Images whose class is a normal number under a threshold; at a shared noise all rows share a part of it."""
    own = rng.standard_normal((len(shares), images))
    common = np.where([is_shared(k) for k in range(images)], rng.standard_normal(images), 0.0)
    scale = np.where([is_shared(k) for k in range(images)], alike, 0.0)
    value = np.sqrt(scale) * common + np.sqrt(1 - scale) * own
    # of normal numbers the share under a threshold is the rank of that threshold among many
    threshold = np.quantile(np.random.default_rng(1).standard_normal(400_000), shares)
    return votes_of(value < threshold[:, None])


def test_two_of_three_images_are_shared() -> None:
    assert [is_shared(k) for k in range(6)] == [True, True, False, True, True, False]


def test_the_equations_by_hand() -> None:
    # shared images 0, 1, 3, 4: row 0 shows 1 1 0 0, row 1 shows 1 1 1 0; own ones 2, 5: 0 1 and 0 0
    women = np.array([[1, 1, 0, 0, 0, 1], [1, 1, 0, 1, 0, 0]])
    # rests of the shared ones: (.5 .5 -.5 -.5) and (.25 .25 .25 -.75); mean square (.25 + .1875) / 2 = .21875, of their
    # mean (.375 .375 -.125 -.625) that is .171875, so r = 2 x .171875 / .21875 - 1 = .5714
    alike = 2 * 0.171875 / 0.21875 - 1
    common = (4 / (1 + alike) * 0.625 + 2 * 0.25) / (4 / (1 + alike) + 2)
    apart = (4 / (1 - alike) * 0.125 + 2 * -0.25) / (4 / (1 - alike) + 2)  # of row 1; row 0 has the opposite
    found = counted(votes_of(women))
    assert found["row 0"][0] == pytest.approx(6 * (common - apart))
    assert found["row 1"][0] == pytest.approx(6 * (common + apart))


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_rows_images_stay_as_many(images: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    some = {row: rng.dirichlet(np.ones(3), images) * rng.integers(0, 2, (images, 1)) for row in ROWS[:4]}
    for row, count in counted(some).items():
        assert count.sum() == pytest.approx(some[row].sum())
        assert (count >= 0).all()


def test_noises_that_say_nothing_of_another_prompt_are_counted() -> None:
    women = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 0, 0, 1, 1]])  # at shared noises each shows what the other does not
    assert counted(votes_of(women))["row 0"].tolist() == [4, 2]


@pytest.mark.parametrize("rows", [1, 2])
def test_one_prompt_and_prompts_with_other_numbers_of_images_are_counted(rows: int) -> None:
    some = {"row 0": np.eye(2)[[0, 0, 1]], "row 1": np.eye(2)[[0, 1]]}
    found = counted({row: some[row] for row in list(some)[:rows]})
    assert found["row 0"].tolist() == [2, 1]


def test_a_prompt_of_which_nothing_can_be_told_leaves_the_others_as_they_are() -> None:
    some = {"row 0": np.eye(2)[[0, 0, 1, 1]], "row 1": np.zeros((4, 2))}
    assert {row: one.tolist() for row, one in counted(some).items()} == {"row 0": [2, 2], "row 1": [0, 0]}


def test_shares_are_known_better_and_are_not_biased() -> None:
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.35, 0.65, len(ROWS))
    off: dict[str, list[np.ndarray]] = {"shared": [], "counted": []}
    for _ in range(300):
        some = drawn(rng, shares, 240, 0.9)
        plain = {row: one.sum(axis=0) for row, one in some.items()}
        for name, found in (("shared", counted(some)), ("counted", plain)):
            off[name].append(np.array([found[row][0] for row in ROWS]) / 240 - shares)
    bias, error = np.mean(off["shared"], axis=0), {name: np.square(some).mean() for name, some in off.items()}
    assert np.abs(bias).max() < 4 * (error["shared"] / 300) ** 0.5
    # independent images: .25 / 240 = .00104. With r = .71 what rows have in common is known to
    # .25 / (16 (160 / 11.7 + 80)) = .00017, and how they differ to 15/16 of .25 / (160 / .29 + 80) = .00037
    assert error["shared"] == pytest.approx(0.00054, rel=0.15)
    assert error["counted"] > 1.7 * error["shared"]
