"""Fix: a stack is edited, the same seeds are made again, and every change has its paired interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.metrics.paired import paired_difference
from evenhand.studio.bench import Bench, Cancelled, Progress
from evenhand.studio.fix_handlers import FixHandlers
from evenhand.studio.fixing import Stack, apply, changes, suggestions, watched
from evenhand.studio.fixing_markup import change_table, pairs
from evenhand.studio.policy_file import policy_text, write_policy
from evenhand.studio.session import Session
from evenhand.studio.words import points
from evenhand.verbs.arm import PLAIN, Arm

A, B = "negative-prompt:text=blood", 'sega:text="a, b"'
MIX = "prompt-mix:concept=gender,allocation=iid"


def test_a_stack_is_added_to_reordered_scaled_and_cut() -> None:
    stack = Stack().add(A).add(B)
    assert stack.specs == (A, B)
    assert stack.move(1, -1).specs == (B, A)
    assert stack.move(0, -1) == stack
    assert stack.scaled(0, 0.5).specs == (f"{A},strength=0.5", B)
    assert stack.scaled(0, 0.5).strength(0) == 0.5
    assert stack.scaled(1, 0.5).scaled(1, 1.0) == stack
    assert stack.remove(0).specs == (B,)
    assert Stack().add(f"{A} + {B}") == stack


@pytest.mark.parametrize("text", ["", "   ", "Not A Method", "sega:text"])
def test_what_is_no_intervention_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Stack().add(text)


def test_nothing_is_changed_where_nothing_is_chosen() -> None:
    with pytest.raises(InputError, match="choose an intervention"):
        Stack((A,)).remove(-1)


def test_suggestions_name_the_concepts_and_what_is_unsafe() -> None:
    found = suggestions("skewville", [load_concept("gender")])
    assert "concept-vector:concept=gender" in found
    assert "safe-guidance:concept=unsafe" in found
    for one in found:
        Stack().add(one)


def test_the_same_seeds_are_made_again_and_the_change_is_that_of_pairs(session: Session, bench: Bench) -> None:
    session.specs = Stack().add(MIX).specs
    said = list(apply(session, bench, Stack(session.specs)))
    assert said[-1] == "12 of 12 pairs made."
    assert session.fixed is not None
    assert [one.request for one in session.fixed.seen] == [one.request for one in session.plain.seen]
    before = [label == "female" for label in session.plain.labels(0)]
    after = [label == "female" for label in session.fixed.labels(0)]
    value, (low, high) = paired_difference(before, after)
    female = next(one for one in changes(session) if one.class_name == "female")
    assert (female.value, female.low, female.high, female.n) == (value, low, high, 12)
    assert {one.metric for one in changes(session)} == {"change:share", "change:deviation"}
    assert points(value) in change_table(session)


def test_strength_zero_changes_no_bit_and_nothing_else(session: Session, bench: Bench) -> None:
    list(apply(session, bench, Stack((f"{MIX},strength=0",))))
    assert session.fixed is not None
    for one, two in zip(session.plain.seen, session.fixed.seen, strict=True):
        assert np.array_equal(one.sample.image, two.sample.image)  # type: ignore[arg-type]
    assert {one.value for one in changes(session) if one.metric == "change:share"} == {0.0}


def test_what_is_stopped_compares_the_pairs_that_are_there(session: Session, bench: Bench) -> None:
    work = apply(session, bench, Stack((MIX,)))
    while session.fixed is None or not session.fixed.seen:
        next(work)
    session.stop.set()
    assert list(work)[-1] == "Stopped after 4 of 12 pairs."
    assert {one.n for one in changes(session)} == {4}


def test_a_fit_that_is_stopped_ends() -> None:
    progress_seen: list[str] = []

    def work(progress: Progress) -> Arm:
        progress.start("fitting", total=1000, done=0)
        for _ in range(1000):
            progress.advance()
            progress.stop.wait(0.05)
        return PLAIN

    session = Session()
    built: list[Arm] = []
    lines = watched(work, session.stop, built)
    progress_seen.append(next(lines))
    session.stop.set()
    with pytest.raises(Cancelled):
        list(lines)
    assert progress_seen[0].startswith("fitting: ")
    assert built == []


def test_an_empty_stack_says_what_to_do(session: Session, bench: Bench) -> None:
    *_, (_, _, said) = FixHandlers(bench).apply(session)
    assert "add an intervention first" in said
    assert 'role="alert"' in said


def test_pairs_tell_what_is_perceived_before_and_after(session: Session, bench: Bench) -> None:
    list(apply(session, bench, Stack((MIX,))))
    page = pairs(session)
    assert page.count('type="range"') == 12
    assert session.fixed is not None
    assert f"Image 1 without the stack; perceived: {session.plain.labels(0)[0]}" in page
    assert f"Image 1 with the stack; perceived: {session.fixed.labels(0)[0]}" in page


def test_the_policy_is_one_that_the_server_reads(tmp_path: Path) -> None:
    gender = load_concept("gender").with_target((0.25, 0.75))
    specs = [
        "concept-vector:concept=gender",
        'safe-guidance:preset=weak,text="blood, \\"fire\\"",strength=0.5',
        "negative-prompt:text=blur",
    ]
    path, policy = write_policy(policy_text(specs, [gender]), tmp_path)
    assert path == tmp_path / "policy.toml"
    (fair,) = policy.fairness
    assert fair.resolved().reference == (0.25, 0.75)
    assert fair.method == "concept-vector"
    (safe,) = policy.safety
    assert (safe.preset, safe.text, safe.strength) == ("weak", 'blood, "fire"', 0.5)
    assert [one.spec for one in policy.interventions.values()] == ["negative-prompt:text=blur"]


def test_a_policy_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="stack is empty"):
        policy_text([], [])
