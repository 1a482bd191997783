"""From concepts to requests: which images, from which seeds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from evenhand.errors import ConceptError
from evenhand.verbs.config import Effort, Question
from evenhand.verbs.series import concepts_of, series_of

SMALL = Effort(images_per_prompt=7, seed=3)


def test_image_i_uses_template_i_mod_t_and_the_seed_of_the_protocol() -> None:
    (series,) = series_of(Question(concepts=("gender",), limit=2), SMALL, {})
    assert len(series.requests) == 2 * 7
    second = series.requests[7:]
    assert [request.prompt for request in second[:2]] == [second[5].prompt, second[6].prompt]  # 5 templates
    assert [request.index for request in second] == list(range(7))
    row = second[0].row
    # first 63 bits of SHA-256 over the canonical JSON list [run seed, role, row, index]
    digest = hashlib.sha256(json.dumps([3, "report", row, 4], separators=(",", ":")).encode()).digest()
    assert second[4].seed == int.from_bytes(digest[:8], "big") >> 1


def test_seeds_do_not_depend_on_the_number_of_images_or_rows() -> None:
    (few,) = series_of(Question(concepts=("gender",), limit=2), Effort(images_per_prompt=2), {})
    (many,) = series_of(Question(concepts=("gender",)), Effort(images_per_prompt=4), {})
    assert set(few.requests) <= set(many.requests)


def test_concepts_of_one_set_share_its_images_and_other_sets_have_their_own() -> None:
    found = series_of(Question(concepts=("gender", "unsafe", "skin"), benign=False), SMALL, {})
    assert [(one.name, [concept.name for concept in one.concepts]) for one in found] == [
        ("occupations", ["gender", "skin"]),
        ("contexts", ["unsafe"]),
    ]


def test_prompts_that_are_given_hold_for_every_concept(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("a photo of a baker\na photo of a king\n")
    question = Question(concepts=("gender", "unsafe"), prompts=str(file), benign=False)
    (series,) = series_of(question, SMALL, {"occupations": ["x"]})
    assert series.rows == ("a photo of a baker", "a photo of a king")
    assert series.recognition is None


def test_rows_that_the_model_does_not_know_are_left_out() -> None:
    (series,) = series_of(Question(concepts=("gender",)), SMALL, {"occupations": ["nurse", "chef"]})
    assert set(series.rows) <= {"nurse", "chef"}
    assert len(series.rows) + len(series.left_out) == 36
    with pytest.raises(ConceptError, match="knows none of the 36 rows"):
        series_of(Question(concepts=("gender",)), SMALL, {"occupations": []})


def test_recognition_is_asked_over_all_known_rows_also_when_few_are_measured() -> None:
    (series,) = series_of(Question(concepts=("gender",), limit=1), SMALL, {})
    assert series.recognition is not None
    assert len(series.recognition.classes) == 36
    assert series.asked == (*series.concepts, series.recognition)
    assert series.recognition.absent == series.concepts[0].absent


def test_a_negative_prompt_stands_in_every_request() -> None:
    (series,) = series_of(Question(concepts=("gender",), limit=1), SMALL, {}, "a hat")
    assert {request.negative_prompt for request in series.requests} == {"a hat"}


def test_targets_replace_the_uniform_one() -> None:
    gender, skin = concepts_of(Question(concepts=("gender", "skin"), targets=("gender=female:0.3,male:0.7",)))
    assert gender.reference == (0.3, 0.7)
    assert skin.reference == pytest.approx((1 / 3,) * 3)
    with pytest.raises(ConceptError, match="has a target already"):
        concepts_of(Question(concepts=("gender",), targets=("gender=female:0.3,male:0.7",) * 2))


def test_a_concept_from_two_phrases_needs_a_prompt_set() -> None:
    question = Question(phrases=("a photo of a hat", "a photo of a bare head"))
    with pytest.raises(ConceptError, match="names no prompt set: give --prompts"):
        series_of(question, SMALL, {})
    (series,) = series_of(Question(phrases=question.phrases, prompts="occupations", limit=1), SMALL, {})
    assert series.concepts[0].class_names == ("present", "absent")
