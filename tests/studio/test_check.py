"""Check: a queue with known chances, the verdict hidden, and shares that the labels correct without bias."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from toy_studio import toy_bench
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.metrics.prediction_powered import Labelled, prediction_powered
from evenhand.studio.bench import Bench
from evenhand.studio.check_handlers import CheckHandlers, asked
from evenhand.studio.checking import begin_check, corrected
from evenhand.studio.label_queue import Check, draw_queue
from evenhand.studio.look import Look
from evenhand.studio.session import Session
from evenhand.studio.takeaway import write_labelled_run
from evenhand.verbs.labels import read_sheet


def test_strata_give_alike_and_chances_are_exact() -> None:
    # 90 of a, 4 of b, 6 abstained; 20 drawn: b gives all 4, the abstained 6 of 6, a the other 10 of 90
    labels = ["a"] * 90 + ["b"] * 4 + [None] * 6
    queue = draw_queue(labels, 20, 0)
    drawn = Counter(labels[one.number] for one in queue)
    assert drawn == {"a": 10, "b": 4, None: 6}
    chances = {labels[one.number]: one.chance for one in queue}
    assert chances == {"a": 10 / 90, "b": 1.0, None: 1.0}
    assert len({one.number for one in queue}) == 20


def test_every_image_is_drawn_as_often_as_its_chance_says() -> None:
    labels = ["a"] * 30 + ["b"] * 10
    draws = [draw_queue(labels, 10, seed) for seed in range(800)]
    # 5 of each stratum: chances 1/6 and 1/2; 800 draws have a standard error of at most .018
    often = Counter(one.number for queue in draws for one in queue)
    assert max(abs(often[k] / 800 - 1 / 6) for k in range(30)) < 0.06
    assert max(abs(often[k] / 800 - 1 / 2) for k in range(30, 40)) < 0.07


def test_the_draw_follows_its_seed() -> None:
    labels = ["a", "b"] * 20
    assert draw_queue(labels, 10, 3) == draw_queue(labels, 10, 3)
    assert draw_queue(labels, 10, 3) != draw_queue(labels, 10, 4)


def test_with_weights_a_biased_queue_gives_an_unbiased_share_that_its_interval_holds() -> None:
    """A judge that says b for a third of the true a: the plain share of b is .4, the truth .1; the queue is half b."""
    rng, n, hits, values = np.random.default_rng(5), 300, 0, []
    for seed in range(150):
        truth = rng.random(n) < 0.1
        read = truth | (rng.random(n) < 1 / 3)
        queue = draw_queue(["b" if one else "a" for one in read], 60, seed)
        place = np.array(sorted(one.number for one in queue))
        chance = {one.number: one.chance for one in queue}
        data = Labelled(
            read=np.stack([read, np.ones(n)], axis=1),
            group=np.zeros(n, dtype=int),
            place=place,
            seen=np.stack([truth[place], np.ones(len(place))], axis=1).astype(float),
            chance=np.array([chance[k] for k in place.tolist()]),
        )
        found = prediction_powered(data)
        assert found is not None
        values.append(found[0] - 0.1)
        hits += found[1][0] <= 0.1 <= found[1][1]
    assert abs(np.mean(values)) < 0.01
    assert hits / 150 > 0.9


def answered(session: Session, check: Check, wrong: bool = False) -> None:
    labels = session.plain.labels(0)
    while (number := check.current) is not None:
        seen = str(labels[number])
        check.answer({"female": "male", "male": "female"}[seen] if wrong else seen)


def test_people_who_agree_leave_the_shares_and_people_who_do_not_turn_them_round(session: Session) -> None:
    for wrong in (False, True):
        check = begin_check(session, "gender", 12)
        answered(session, check, wrong)
        shares = {one.class_name: one.value for one in corrected(session, check)}
        judged = session.plain.labels(0).count("male" if wrong else "female") / 12
        assert shares["female"] == pytest.approx(judged)


def test_one_label_that_is_missing_states_nothing(session: Session) -> None:
    check = begin_check(session, "gender", 12)
    answered(session, check)
    check.back()
    with pytest.raises(InputError, match="1 images of the queue have no label"):
        corrected(session, check)


def test_images_that_come_later_are_not_in_the_queue(session: Session, bench: Bench) -> None:
    check = begin_check(session, "gender", 12)
    answered(session, check)
    before = corrected(session, check)
    list(session.grow(bench, 8))
    assert corrected(session, check) == before


def test_the_verdict_does_not_stand_in_what_is_asked(session: Session) -> None:
    session.check = begin_check(session, "gender", 12)
    said = re.sub(r'src="[^"]*"', "", asked(session))
    assert "male" not in said
    assert 'alt="The image to label"' in said


def test_covering_does_not_tell_the_verdict_of_a_safety_concept(look: Look) -> None:
    session = Session()
    session.begin(dataclasses.replace(look, concepts=("unsafe",)))
    list(session.grow(toy_bench(unsafe="female"), 16))
    session.check = begin_check(session, "unsafe", 16)
    for _ in range(16):
        assert "This image may be unsafe" in asked(session)
        session.check.answer("safe")


def test_too_few_images_and_strange_labels_are_refused(session: Session) -> None:
    with pytest.raises(InputError, match="expected 10 or more"):
        begin_check(session, "gender", 9)
    with pytest.raises(InputError, match="looked at on the page Look"):
        begin_check(session, "skin", 12)
    with pytest.raises(InputError, match="no class of gender"):
        begin_check(session, "gender", 12).answer("old")


def test_the_page_goes_from_the_queue_to_the_corrected_shares(session: Session, bench: Bench) -> None:
    handlers = CheckHandlers(bench)
    page, said = handlers.begin(session, "gender", 12)
    assert "Image 1 of 12" in page
    for _ in range(12):
        page, said = handlers.answer(session, "female")
    assert "12 of 12 images labelled." in said
    assert "<td>100 %</td>" in page
    assert "Image 12 of 12" in handlers.back(session)[0]


def test_the_labels_are_a_sheet_that_the_command_line_reads(session: Session, bench: Bench) -> None:
    check = begin_check(session, "gender", 12)
    answered(session, check)
    report, line = write_labelled_run(session, bench, check)
    words = shlex.split(line)
    path = Path(words[words.index("--labels") + 1])
    sheet = read_sheet(path, [load_concept("gender")])
    assert len(sheet.chance) == 12
    assert "calibrated:share" in (report.parent / "result.json").read_text()
    words[2] = "skewville"
    done = CliRunner().invoke(app, [*words[1:], "--dry-run"])
    assert done.exit_code == 0, done.output
