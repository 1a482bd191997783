"""A suggestion: what is ready is tried on seeds of its own, and printed rules choose."""

from __future__ import annotations

import pytest

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.records import Cost
from evenhand.studio import suggesting
from evenhand.studio.bench import Bench
from evenhand.studio.session import Session
from evenhand.studio.suggest_handlers import SuggestHandlers
from evenhand.studio.suggesting import ROLE, candidates, try_out
from evenhand.studio.suggesting_markup import suggestion
from evenhand.verbs.recommend import RULES, recommend

GENDER = load_concept("gender")
MIX = "prompt-mix:concept=gender"


def test_what_needs_no_fit_can_be_tried(bench: Bench) -> None:
    assert candidates(bench, GENDER, [GENDER]) == [MIX]
    unsafe = load_concept("unsafe")
    assert all(
        one.startswith(("safe-guidance", "sega", "negative-prompt")) for one in candidates(bench, unsafe, [unsafe])
    )


def test_the_rules_choose_and_the_sentence_says_why(session: Session, bench: Bench) -> None:
    said = list(try_out(session, bench, "gender", 40))
    found = session.suggestion
    assert found is not None
    (by_rules,) = recommend([GENDER], found.estimates, found.costs)
    assert (found.spec, found.text) == (by_rules["arm"], by_rules["text"])
    assert found.spec == MIX  # nurses of the toy are women nine times in ten
    assert said[-1].startswith(f"Take {MIX}: it lowers the deviation of gender by")
    assert [one.intervention for one in found.costs] == [None, MIX]
    assert all(isinstance(one, Cost) and one.images == 40 for one in found.costs)
    page = suggestion(found)
    assert found.text in page
    assert all(rule.split(";")[0] in page for rule in RULES)


def test_a_trial_shares_no_seed_with_the_page(session: Session, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    fill = Session.fill

    def watched(self: Session, bench: Bench, into: object, requests: list[object], *more: object) -> object:
        seeds.extend(one.seed for one in requests)  # type: ignore[attr-defined]
        return fill(self, bench, into, requests, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "fill", watched)
    list(try_out(session, bench, "gender", 8))
    assert set(seeds) == {image_seed(0, ROLE, "a nurse", k) for k in range(8)}
    assert not set(seeds) & {one.request.seed for one in session.plain.seen}
    assert len(session.plain.seen) == 12


def test_a_trial_that_is_stopped_suggests_nothing(session: Session, bench: Bench) -> None:
    work = try_out(session, bench, "gender", 16)
    next(work)
    session.stop.set()
    assert list(work)[-1].startswith("Stopped")
    assert session.suggestion is None


def test_what_cannot_be_tried_is_said(session: Session, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="choose a concept that is looked at"):
        list(try_out(session, bench, "skin", 16))
    with pytest.raises(InputError, match="expected 8 to 200"):
        list(try_out(session, bench, "gender", 2))
    monkeypatch.setattr(suggesting, "candidates", lambda *some: [])
    with pytest.raises(InputError, match="nothing is ready for gender"):
        list(try_out(session, bench, "gender", 16))


def test_a_suggestion_is_taken_into_the_stack(session: Session, bench: Bench) -> None:
    events = SuggestHandlers(bench)
    assert "ask for one first" in events.take(session)
    *_, (_, said) = events.suggest(session, "gender", 40)
    assert "The trial is over" in said
    assert f"Stack: {MIX}" in events.take(session)
    assert session.specs == (MIX,)
