"""Look: images arrive batch by batch, estimates hold at any time, tabs stay apart, Stop stops."""

from __future__ import annotations

import copy
import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_studio import toy_bench

from evenhand.concepts.library import load_concept
from evenhand.concepts.target import parse_target
from evenhand.errors import ConceptError, InputError
from evenhand.metrics.decision import row_decision
from evenhand.metrics.sequences import confidence_sequence, decide_at_any_time
from evenhand.studio.bench import Bench, Cancelled, Progress
from evenhand.studio.live import images_to_verdict, live
from evenhand.studio.look import MOST_IMAGES, Look, target_text
from evenhand.studio.session import Session
from evenhand.studio.words import abstained_line, plain_words, share_line, verdict_line

GENDER = load_concept("gender")


def test_images_arrive_batch_by_batch_with_their_verdicts(look: Look, bench: Bench) -> None:
    session, counts = Session(), []
    session.begin(look)
    for made in session.grow(bench, 10):
        counts.append((made, session.estimates()[0].n))
    assert counts == [(4, 4), (8, 8), (10, 10)]
    # 10 images in batches of 4 take 3 batches of 4 rows, 30 steps each, without guidance
    assert session.plain.evaluations == 3 * 4 * 30


def test_image_i_is_the_same_however_it_was_asked_for(look: Look, bench: Bench) -> None:
    at_once, in_parts = Session(), Session()
    for session in (at_once, in_parts):
        session.begin(look)
    list(at_once.grow(bench, 8))
    list(in_parts.grow(bench, 4))
    list(in_parts.grow(bench, 4))
    for one, two in zip(at_once.plain.seen, in_parts.plain.seen, strict=True):
        assert one.request == two.request
        assert one.sample.image is not None
        assert np.array_equal(one.sample.image, two.sample.image)  # type: ignore[arg-type]


def test_two_tabs_at_once_have_what_each_would_have_alone(look: Look, bench: Bench) -> None:
    other = dataclasses.replace(look, prompt="a mechanic")

    def images(some: Session) -> list[np.ndarray | None]:
        return [one.sample.image for one in some.plain.seen]

    def run(what: Look, into: Session) -> None:
        into.begin(what)
        list(into.grow(bench, 12))

    alone = [Session(), Session()]
    together = [Session(), Session()]
    for what, into in zip((look, other), alone, strict=True):
        run(what, into)
    threads = [threading.Thread(target=run, args=pair) for pair in zip((look, other), together, strict=True)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for one, two in zip(alone, together, strict=True):
        assert np.array_equal(np.stack(images(one)), np.stack(images(two)))  # type: ignore[arg-type]


def test_stop_ends_the_work_and_keeps_what_is_there(look: Look, bench: Bench) -> None:
    session = Session()
    session.begin(look)
    work = session.grow(bench, 40)
    assert next(work) == 4
    session.stop.set()
    assert list(work) == []
    assert len(session.plain.seen) == 4
    # and the next click goes on where it was left
    assert list(session.grow(bench, 4)) == [8]


def test_stop_in_the_middle_of_a_batch_leaves_the_model_as_it_was(look: Look, bench: Bench) -> None:
    session = Session()
    session.begin(look)
    list(session.grow(bench, 4))
    steps = iter(range(100))
    with pytest.raises(Cancelled):
        bench.make([session.plain.seen[0].request], stop=lambda: next(steps) >= 3)
    (again, *_), _, _ = bench.make([one.request for one in session.plain.seen])
    assert np.array_equal(again.image, session.plain.seen[0].sample.image)  # type: ignore[arg-type]


def test_the_state_of_a_page_is_copied_as_a_new_tab(session: Session) -> None:
    copied = copy.deepcopy(session)
    assert copied.look is None
    assert copied.plain.seen == []
    copied.stop.set()
    assert not session.stop.is_set()


def test_warming_up_changes_no_image(look: Look, bench: Bench) -> None:
    warm, cold = Session(), Session()
    bench.warm()
    for session, some in ((warm, bench), (cold, toy_bench())):
        session.begin(look)
        list(session.grow(some, 4))
    for one, two in zip(warm.plain.seen, cold.plain.seen, strict=True):
        assert np.array_equal(one.sample.image, two.sample.image)  # type: ignore[arg-type]


def test_a_tab_does_one_thing_at_a_time(look: Look, bench: Bench) -> None:
    session = Session()
    session.begin(look)
    first = session.grow(bench, 8)
    next(first)
    with pytest.raises(InputError, match="at work already"):
        next(session.grow(bench, 4))
    assert list(first) == [8]


def test_another_target_keeps_the_images_another_prompt_does_not(session: Session, look: Look) -> None:
    session.begin(dataclasses.replace(look, targets=("gender=female:0.8,male:0.2",)))
    assert len(session.plain.seen) == 12
    assert session.estimates()[0].classes[0].target == 0.8
    session.begin(dataclasses.replace(look, prompt="a mechanic"))
    assert session.plain.seen == []


def test_a_target_that_cannot_be_used_changes_nothing(session: Session, look: Look) -> None:
    with pytest.raises(ConceptError, match="no share for"):
        session.begin(dataclasses.replace(look, targets=("gender=female:1",)))
    assert len(session.plain.seen) == 12
    assert session.look == look


def test_a_disputed_image_never_enters_an_estimate(session: Session) -> None:
    before = session.estimates()
    for number in range(12):
        session.dispute(number, "not what I see")
    assert session.disputed == dict.fromkeys(range(12), "not what I see")
    assert session.estimates() == before
    session.dispute(3)
    assert 3 not in session.disputed


def test_unsafe_images_are_known_also_where_no_safety_concept_is_looked_at(look: Look) -> None:
    session = Session()
    session.begin(look)
    list(session.grow(toy_bench(unsafe="female"), 12))
    assert [one.name for one in session.concepts] == ["gender"]
    assert [one.concept.name for one in session.estimates()] == ["gender"]
    labels = session.plain.labels(0)
    assert {"female", "male"} == set(labels)
    assert [session.unsafe(k) for k in range(12)] == [label == "female" for label in labels]


def test_two_phrases_make_a_concept(look: Look) -> None:
    session = Session()
    session.begin(dataclasses.replace(look, concepts=(), phrases=("a photo with a hat", "a photo without a hat")))
    (concept,) = session.concepts
    assert concept.class_names == ("present", "absent")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "  \n "}, "the prompt is empty"),
        ({"concepts": ()}, "choose a concept"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_used_is_said_in_plain_words(look: Look, change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        dataclasses.replace(look, **change)  # type: ignore[arg-type]


def test_a_prompt_is_one_line_of_its_file(look: Look) -> None:
    wrapped = dataclasses.replace(look, prompt="a photo\nof a nurse")
    wrapped.series(1)
    assert wrapped.prompts.read_text() == "a photo of a nurse\n"
    assert wrapped.series(2).requests[1].prompt == "a photo of a nurse"


def test_a_tab_holds_no_more_than_it_may(look: Look) -> None:
    with pytest.raises(InputError, match="at most"):
        look.series(MOST_IMAGES + 1)


def test_intervals_are_confidence_sequences() -> None:
    found = live(GENDER, ["female"] * 9 + ["male"] * 3 + [None] * 2)
    assert [(one.count, one.n) for one in found.classes] == [(9, 12), (3, 12)]
    assert found.abstained == 2
    assert found.classes[0].interval == confidence_sequence(9, 12)
    assert share_line(found.classes[0]) == "female: 75 % (33 % to 97 %), 9 of 12 images"
    assert abstained_line(found) == "2 images left out: the judge sees none of the classes."


def test_before_the_first_image_nothing_is_claimed() -> None:
    found = live(GENDER, [])
    assert found.decision is None
    assert found.more is None
    assert found.classes[0].interval == (0.0, 1.0)
    assert verdict_line(found) == "No image yet."


def test_a_safety_concept_states_the_rate_of_the_unsafe_class_alone() -> None:
    found = live(load_concept("unsafe"), ["unsafe", "safe", "safe", "safe"])
    assert [(one.name, one.count, one.target) for one in found.classes] == [("unsafe", 1, None)]
    assert found.decision is None


def test_the_verdict_names_the_images_that_would_decide() -> None:
    # ten of ten: the sequence of 10 / 10 begins above .6, so that the share lies beyond one half and the margin
    assert confidence_sequence(10, 10)[0] > 0.6
    assert verdict_line(live(GENDER, ["female"] * 10)).startswith("Biased")
    five = live(GENDER, ["female"] * 5)
    assert five.more is not None
    assert confidence_sequence(5 + five.more, 5 + five.more)[0] > 0.6
    assert confidence_sequence(4 + five.more, 4 + five.more)[0] <= 0.6
    assert verdict_line(five) == f"Undecided: {five.more} more images would decide, if the shares stay as they are."


def test_a_share_at_the_edge_of_the_margin_is_never_decided() -> None:
    assert images_to_verdict([60, 40], (0.5, 0.5)) is None
    assert "would not decide" in verdict_line(live(GENDER, ["female"] * 60 + ["male"] * 40))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30))
def test_the_projection_is_the_first_number_that_decides(female: int, male: int) -> None:
    if female + male == 0:
        return
    more = images_to_verdict([female, male], (0.5, 0.5))
    n = female + male

    def decided(images: int) -> bool:
        grown = [images * female / n, images * male / n]
        return row_decision(decide_at_any_time(grown, (0.5, 0.5), 0.1)) != "undecided"  # type: ignore[arg-type]

    if more is not None:
        assert decided(n + more)
        assert more == 0 or not decided(n + more - 1)


@given(st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any))
def test_sliders_make_a_target_that_sums_to_one(weights: list[int]) -> None:
    skin = load_concept("skin")
    name, shares = parse_target(target_text(skin, [float(one) for one in weights]), [skin])
    assert name == "skin"
    assert shares == pytest.approx([one / sum(weights) for one in weights])


def test_sliders_all_at_zero_are_no_target() -> None:
    with pytest.raises(InputError, match="every share is 0"):
        target_text(GENDER, [0, 0])


def test_errors_are_plain_words() -> None:
    assert plain_words(InputError("the prompt is empty:\n type one")) == "the prompt is empty: type one"
    assert "ZeroDivisionError" in plain_words(ZeroDivisionError("division by zero"))


def test_progress_tells_and_stops() -> None:
    progress = Progress()
    progress.start("fitting", total=8, done=0)
    progress.advance(2)
    assert progress.line == "fitting: 2 of 8 images"
    progress.stop.set()
    with pytest.raises(Cancelled):
        progress.advance()


def test_prompt_files_lie_in_the_folder_of_the_look(look: Look, tmp_path: Path) -> None:
    elsewhere = dataclasses.replace(look, folder=tmp_path / "mine")
    elsewhere.series(1)
    assert elsewhere.prompts.parent == tmp_path / "mine"
    assert elsewhere.prompts.is_file()
