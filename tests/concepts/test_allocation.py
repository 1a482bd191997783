"""Seeds and classes of images: functions of what the image is."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from evenhand.concepts import allocate, image_seed
from evenhand.errors import ConceptError, InputError

EVEN = {"female": 0.5, "male": 0.5}
THIRDS = {"light": 1 / 3, "medium": 1 / 3, "dark": 1 / 3}


def classes(target: dict[str, float], count: int, mode: str = "stratified", **fields: object) -> list[str]:
    where = {"run_seed": 0, "prompt": "nurse"} | fields
    return [allocate(target, index=index, mode=mode, **where) for index in range(count)]  # type: ignore[arg-type]


def test_a_seed_is_the_first_63_bits_of_a_hash() -> None:
    digest = hashlib.sha256(b'[7,"report","nurse",3]').digest()
    assert image_seed(7, "report", "nurse", 3) == int.from_bytes(digest, "big") >> (256 - 63)


@given(st.integers(0, 2**63), st.text(max_size=20), st.integers(0, 10**9))
def test_seeds_fit_a_torch_generator(run_seed: int, prompt: str, index: int) -> None:
    assert 0 <= image_seed(run_seed, "report", prompt, index) < 2**63


def test_no_two_images_share_a_seed() -> None:
    seeds = {
        image_seed(run, role, prompt, index)
        for run in (0, 1)
        for role in ("fit", "calibrate", "stop", "report")
        for prompt in ("nurse", "doctor")
        for index in range(200)
    }
    assert len(seeds) == 2 * 4 * 2 * 200


def test_stratified_blocks_hold_their_quotas_exactly() -> None:
    # .5/.5 has blocks of 2, thirds of 3, .3/.7 of 10, .25/.5/.25 of 4, .07/.93 of 100.
    for target, block in (
        (EVEN, 2),
        (THIRDS, 3),
        ({"a": 0.3, "b": 0.7}, 10),
        ({"a": 0.25, "b": 0.5, "c": 0.25}, 4),
        ({"a": 0.07, "b": 0.93}, 100),
    ):
        got = classes(target, 2 * block)
        for start in (0, block):
            counts = Counter(got[start : start + block])
            assert counts == {name: round(share * block) for name, share in target.items()}


def test_blocks_are_shuffled_and_differ_by_prompt_and_run() -> None:
    plain = classes(EVEN, 40)
    assert len({tuple(plain[i : i + 2]) for i in range(0, 40, 2)}) == 2
    assert plain != classes(EVEN, 40, prompt="doctor")
    assert plain != classes(EVEN, 40, run_seed=1)


def test_the_first_place_of_a_block_favours_no_class() -> None:
    first = classes(EVEN, 1200)[::2]
    assert binomtest(first.count("female"), 600).pvalue > 0.001


@given(st.lists(st.integers(1, 996), min_size=1, max_size=4, unique=True), st.integers(0, 5))
def test_other_targets_are_met_to_two_images_at_the_end_of_every_block(cuts: list[int], seed: int) -> None:
    # 997 is prime and above 100: no common denominator is small enough, hence blocks of 100.
    edges = [0, *sorted(cuts), 997]
    target = {str(low): (high - low) / 997 for low, high in pairwise(edges)}
    got = classes(target, 300, run_seed=seed)
    for end in (100, 200, 300):
        counts = Counter(got[:end])
        assert all(abs(counts[name] - end * share) <= 2 for name, share in target.items())


def test_the_running_largest_remainder_by_hand() -> None:
    # Shares 1/sqrt(2) and the rest have no common denominator: 100 images give 70.71 and 29.29, hence 71 and 29,
    # and 200 give 141.42 and 58.58, hence 141 and 59.
    target = {"a": 2**-0.5, "b": 1 - 2**-0.5}
    got = classes(target, 200)
    assert Counter(got[:100]) == {"a": 71, "b": 29}
    assert Counter(got) == {"a": 141, "b": 59}


@pytest.mark.parametrize("mode", ["stratified", "iid"])
@pytest.mark.parametrize("target", [EVEN, THIRDS, {"a": 0.123456, "b": 0.876544}])
def test_the_class_of_an_image_does_not_depend_on_how_many_there_are(mode: str, target: dict[str, float]) -> None:
    assert classes(target, 250, mode)[:30] == classes(target, 30, mode)


def test_iid_draws_follow_the_target_and_never_a_class_without_a_share() -> None:
    counts = Counter(classes({"a": 0.0, "b": 0.3, "c": 0.7}, 3000, "iid"))
    assert set(counts) == {"b", "c"}
    assert binomtest(counts["b"], 3000, 0.3).pvalue > 0.001


def test_a_class_with_share_zero_is_never_asked_for() -> None:
    assert set(classes({"a": 0.0, "b": 1.0}, 50)) == {"b"}
    assert set(classes({"a": 0.0, "b": 2**-0.5, "c": 1 - 2**-0.5}, 200)) == {"b", "c"}


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="expected stratified or iid"):
        allocate(EVEN, 0, "nurse", 0, "balanced")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="image index -1"):
        allocate(EVEN, 0, "nurse", -1, "iid")
    with pytest.raises(ConceptError, match=r"sum to 1\.2"):
        allocate({"a": 0.6, "b": 0.6}, 0, "nurse", 0, "iid")
