"""The watch: what is counted, what rings, and what is kept."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evenhand.concepts.library import load_concept
from evenhand.metrics.sequences import confidence_sequence
from evenhand.serve.monitor import ImageLog, Monitor
from evenhand.serve.order import Order, Reading
from evenhand.serve.policy import Watch
from evenhand.serve.state import State

CONCEPTS = tuple(load_concept(name) for name in ("gender", "unsafe"))


@pytest.fixture
def state() -> Iterator[State]:
    with State(None) as opened:
        yield opened


def order(prompt: str = "a photo of a nurse", **classes: str) -> Order:
    return Order(row=prompt, prompt=prompt, index=0, seed=0, classes=classes)


def reading(gender: str | None = "female", unsafe: str | None = "safe") -> Reading:
    return Reading(labels={"gender": gender, "unsafe": unsafe})


def monitor(state: State, **watch: Any) -> Monitor:
    return Monitor(state, "house/1", Watch.model_validate(watch), CONCEPTS, clock=lambda: 42.0)


def estimate(one: Monitor, metric: str, name: str) -> dict[str, Any]:
    (found,) = [e for e in one.audit()["estimates"] if (e["metric"], e["class"]) == (metric, name)]
    return found


def test_success_of_what_was_assigned(state: State) -> None:
    """7 of 10 women show as women: .7, with the interval of a confidence sequence."""
    watch = monitor(state)
    watch.record([(order(gender="female"), reading("female" if k < 7 else "male")) for k in range(10)])
    found = estimate(watch, "success", "female")
    low, high = confidence_sequence(7, 10)
    assert (found["value"], found["n"], found["low"], found["high"]) == (0.7, 10, low, high)
    assert not [e for e in watch.audit()["estimates"] if e["metric"] == "share"]


def test_shares_only_where_nothing_was_assigned_or_named(state: State) -> None:
    watch = monitor(state)
    watch.record([(order(), reading()), (order("a photo of a woman"), reading()), (order(gender="male"), reading())])
    assert estimate(watch, "share", "female")["n"] == 1
    assert estimate(watch, "share", "male")["value"] == 0.0
    assert estimate(watch, "unsafe_rate", "unsafe")["n"] == 3


def test_abstentions_are_counted_apart(state: State) -> None:
    watch = monitor(state)
    watch.record([(order(gender="female"), reading(None)), (order(gender="female"), reading("female"))])
    found = estimate(watch, "success", "female")
    assert (found["n"], found["abstained"], found["value"]) == (1, 1, 1.0)


def test_success_that_falls_rings_and_says_when(state: State) -> None:
    """Success .5 where .9 is promised: within 200 images; at .9 not within 2,000."""
    chance = random.Random(0)
    watch = monitor(state, success_at_least=0.9)
    fine = [(order(gender="female"), reading("female" if chance.random() < 0.9 else "male")) for _ in range(2000)]
    assert watch.record(fine) == ()
    bad = [(order(gender="female"), reading("female" if chance.random() < 0.5 else "male")) for _ in range(200)]
    assert "success.gender.female/fell" in watch.record(bad)
    alarm = watch.alarms()["success.gender.female/fell"]
    assert alarm["alarms"] >= 1
    assert alarm["last"] == 42.0


def test_the_unsafe_rate_and_shares_ring(state: State) -> None:
    bounds = [{"concept": "gender", "class": "female", "at_least": 0.3, "at_most": 0.7}]
    watch = monitor(state, unsafe_at_most=0.05, shares=bounds)
    rung = watch.record([(order(), reading("female", "unsafe")) for _ in range(100)])
    assert {"unsafe_rate.unsafe.unsafe/rose", "share.gender.female/rose"} <= set(rung)
    assert "share.gender.female/fell" not in rung


def test_it_goes_on_after_a_restart_and_another_policy_starts_anew(tmp_path: Path) -> None:
    with State(tmp_path) as first:
        one = monitor(first)
        one.record([(order(gender="female"), reading("male"))] * 3)
        before = one.audit(), one.alarms()
    with State(tmp_path) as second:
        assert (monitor(second).audit(), monitor(second).alarms()) == before
        assert Monitor(second, "house/2", Watch(), CONCEPTS).audit()["estimates"] == []  # type: ignore[call-arg]


def test_another_bound_starts_its_alarm_anew(state: State) -> None:
    monitor(state, unsafe_at_most=0.05).record([(order(), reading(unsafe="unsafe"))] * 2)
    watch = monitor(state, unsafe_at_most=0.2)
    watch.record([(order(), reading())])
    assert watch.alarms()["unsafe_rate.unsafe.unsafe/rose"]["images"] == 1


def test_the_log_forgets(state: State) -> None:
    now = [0.0]
    log = ImageLog(state, days=1.0, prompts=False, clock=lambda: now[0])
    log.write([{"seed": 1}], "a secret")
    now[0] = 80_000.0
    log.write([{"seed": 2}, {"seed": 3}], "a secret")
    assert log.lines() == [{"seed": 1}, {"seed": 2}, {"seed": 3}]
    now[0] = 90_000.0  # a day has 86,400 s
    log.write([{"seed": 4}], "a secret")
    assert log.lines() == [{"seed": 2}, {"seed": 3}, {"seed": 4}]


def test_prompts_only_where_they_are_asked_for(state: State) -> None:
    ImageLog(state, days=1.0, prompts=False).write([{"seed": 1}], "a secret")
    ImageLog(state, days=1.0, prompts=True).write([{"seed": 2}], "not secret")
    assert ImageLog(state, days=1.0, prompts=False).lines() == [{"seed": 1}, {"seed": 2, "prompt": "not secret"}]


def test_a_log_that_is_off_keeps_nothing_of_before(state: State) -> None:
    ImageLog(state, days=1.0, prompts=True).write([{"seed": 1}], "x")
    off = ImageLog(state, days=0.0, prompts=True)
    off.write([{"seed": 2}], "x")
    assert off.lines() == []
