"""Urns: shares that hold across requests, whoever asks for how many."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenhand.errors import RunDirectoryError
from evenhand.serve.quotas import Draw, Quotas, urn
from evenhand.serve.state import State

EVEN = {"female": 0.5, "male": 0.5}


class Clock:
    """Time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def state() -> Iterator[State]:
    with State(None) as opened:
        yield opened


def draw(quotas: Quotas, count: int = 1, *, tenant: str = "a", subject: str = "doctor") -> list[str]:
    found = quotas.draw(tenant=tenant, concept="gender", subject=subject, target=EVEN, count=count, expires=60.0)
    quotas.settle(found)
    return [one.class_name for one in found]


def test_an_urn_of_halves_has_ten_balls() -> None:
    """10 is the smallest size from 10 on at which halves are whole; thirds need 12, fifths and tenths 10."""
    chance = random.Random(0)
    assert urn((0.5, 0.5), chance) == (5, 5)
    assert urn((1 / 3, 1 / 3, 1 / 3), chance) == (4, 4, 4)
    assert urn((0.3, 0.7), chance) == (3, 7)
    assert urn((1.0, 0.0), chance) == (10, 0)


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=6), st.integers(0, 100))
def test_counts_are_floors_or_ceilings_and_fill_the_urn(weights: list[float], seed: int) -> None:
    shares = [weight / sum(weights) for weight in weights]
    counts = urn(shares, random.Random(seed))
    assert 10 <= sum(counts) <= 100
    assert all(abs(count - share * sum(counts)) < 1 + 1e-6 for count, share in zip(counts, shares, strict=True))


def test_irrational_shares_hold_on_average() -> None:
    """Share .123456789 of 100: 12 or 13 balls, 12.3457 on average; 4000 urns have a standard error of .0075."""
    chance = random.Random(1)
    counts = [urn((0.123456789, 1 - 0.123456789), chance)[0] for _ in range(4000)]
    assert set(counts) == {12, 13}
    assert sum(counts) / 4000 == pytest.approx(12.3457, abs=0.03)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_share_holds_within_one_urn_also_one_image_at_a_time(state: State, size: int) -> None:
    quotas = Quotas(state, chance=random.Random(0))
    classes = [one for _ in range(30) for one in draw(quotas, size)]
    whole = len(classes) // 10 * 10
    for start in range(0, whole, 10):
        assert Counter(classes[start : start + 10]) == {"female": 5, "male": 5}


def test_the_order_is_drawn(state: State) -> None:
    """Two urns hardly ever come in the same order: 1 of 252."""
    quotas = Quotas(state, chance=random.Random(0))
    assert len({tuple(draw(quotas, 10)) for _ in range(20)}) > 15


def test_subjects_and_tenants_have_urns_of_their_own(state: State) -> None:
    """All doctors of one class and all nurses of the other would meet a quota over the stream; here each is even."""
    quotas = Quotas(state, chance=random.Random(0))
    seen: dict[tuple[str, str], list[str]] = {}
    for turn in range(40):
        key = (("a", "b")[turn % 2], ("doctor", "nurse")[turn // 2 % 2])
        seen.setdefault(key, []).extend(draw(quotas, tenant=key[0], subject=key[1]))
    assert all(Counter(classes) == {"female": 5, "male": 5} for classes in seen.values())


def test_what_was_not_handed_out_goes_back(state: State) -> None:
    quotas = Quotas(state, chance=random.Random(0))
    lost = quotas.draw(tenant="a", concept="gender", subject="doctor", target=EVEN, count=3, expires=60.0)
    quotas.put_back(lost)
    assert quotas.held() == 0
    assert Counter(draw(quotas, 10)) == {"female": 5, "male": 5}


def test_putting_back_twice_gives_one_ball(state: State) -> None:
    quotas = Quotas(state, chance=random.Random(0))
    lost = quotas.draw(tenant="a", concept="gender", subject="doctor", target=EVEN, count=1, expires=60.0)
    quotas.put_back(lost)
    quotas.put_back(lost)
    quotas.settle(lost)
    assert Counter(draw(quotas, 10)) == {"female": 5, "male": 5}


def test_an_urn_that_nobody_drew_from_expires(state: State) -> None:
    clock = Clock()
    quotas = Quotas(state, clock=clock, chance=random.Random(0))
    draw(quotas, 7)
    clock.now = 61.0
    assert Counter(draw(quotas, 10)) == {"female": 5, "male": 5}
    draw(quotas, 7)
    clock.now = 120.0
    later = draw(quotas, 3)
    clock.now = 180.0
    assert len(later) == 3
    with state.transaction() as connection:
        assert connection.execute("SELECT COUNT(*) FROM urns").fetchone() == (1,)


def test_a_killed_server_owes_nothing(tmp_path: Path) -> None:
    """Draws that were neither settled nor put back are back in the urn at the next start."""
    first = State(tmp_path)
    quotas = Quotas(first, chance=random.Random(0))
    draw(quotas, 4)
    quotas.draw(tenant="a", concept="gender", subject="doctor", target=EVEN, count=6, expires=60.0)
    first.close()  # the process ends, and neither knows nor says what became of the six
    with State(tmp_path) as second:
        again = Quotas(second, chance=random.Random(1))
        assert again.held() == 0
        # 4 of the urn were shown; the other 6 make it full
        rest = draw(again, 6)
        assert Counter(rest) == Counter(female=5, male=5) - Counter(draw_of_first_four())


def draw_of_first_four() -> list[str]:
    """The four that were settled: the same chance gives them again."""
    with State(None) as state:
        return draw(Quotas(state, chance=random.Random(0)), 4)


def test_the_ledger_holds_no_words(tmp_path: Path) -> None:
    with State(tmp_path) as state:
        draw(Quotas(state), 3, tenant="secret tenant", subject="secret subject")
    data = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"secret tenant" not in data
    assert b"secret subject" not in data


def test_one_server_at_a_time(tmp_path: Path) -> None:
    with State(tmp_path), pytest.raises(RunDirectoryError, match="another server works in"):
        State(tmp_path)
    State(tmp_path).close()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "serve.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(RunDirectoryError, match="is no database"):
        State(tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["settle", "put back"])), max_size=30))
def test_what_is_handed_out_never_strays_from_the_target(steps: list[tuple[int, str]]) -> None:
    """Whatever is put back, no class is ahead by more than an urn's worth of it, and no draw is lost."""
    with State(None) as state:
        quotas = Quotas(state, chance=random.Random(3))
        shown: Counter[str] = Counter()
        for count, fate in steps:
            found: tuple[Draw, ...] = quotas.draw(
                tenant="a", concept="gender", subject="x", target=EVEN, count=count, expires=60.0
            )
            if fate == "settle":
                quotas.settle(found)
                shown.update(one.class_name for one in found)
            else:
                quotas.put_back(found)
        assert abs(shown["female"] - shown["male"]) <= 10
        assert quotas.held() == 0
