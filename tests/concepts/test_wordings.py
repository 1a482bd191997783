"""Captions of one row in several wordings, with the article or without it."""

from __future__ import annotations

import pytest

from evenhand.concepts.prompts import PromptRow, load_prompts
from evenhand.concepts.wordings import BARE_FRAMES, FRAMES, caption_of, plain_caption

NURSE = PromptRow(name="nurse", templates=("photo of a nurse",), phrase="a photo of a nurse")
ARCHITECT = PromptRow(
    name="architect", templates=("image of architect", "photo of architect"), phrase="a photo of an architect"
)


def captions(row: PromptRow, count: int = 20) -> list[str]:
    return [caption_of(row, number) for number in range(count)]


def test_the_first_caption_is_the_phrase_itself() -> None:
    assert [caption_of(row, 0) for row in (NURSE, ARCHITECT)] == ["a photo of a nurse", "a photo of an architect"]


def test_a_row_whose_prompts_have_the_article_always_has_it() -> None:
    assert set(captions(NURSE)) == {f"{frame} a nurse".lstrip() for frame in FRAMES}


def test_where_prompts_have_no_article_every_second_caption_has_none() -> None:
    found = captions(ARCHITECT)
    assert all("an architect" in one for one in found[::2])
    assert set(found[1::2]) == {f"{frame} architect".lstrip() for frame in BARE_FRAMES}
    assert len(set(found)) == 2 * len(BARE_FRAMES)


def test_captions_are_none_of_the_prompts_that_audits_of_occupations_use() -> None:
    for row in load_prompts("occupations").rows:
        assert not {*captions(row)} & {*row.templates}


@pytest.mark.parametrize("phrase", ["a photo of sheep", "a drawing of a nurse"])
def test_what_has_no_article_or_begins_otherwise_gains_and_loses_nothing(phrase: str) -> None:
    row = PromptRow(name="row", templates=("photo of nurse",), phrase=phrase)
    subject = phrase.removeprefix("a photo of ")
    assert {one[-len(subject) :] for one in captions(row)} == {subject}


def test_a_row_without_a_phrase_speaks_in_its_own_prompts() -> None:
    row = PromptRow(name="row", templates=("a chef at work", "chef"))
    assert captions(row, 4) == ["a chef at work", "chef", "a chef at work", "chef"]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_caption_is_found_in_the_first_frame_again(frame: str) -> None:
    assert plain_caption(f"{frame} a nurse".lstrip()) == "a photo of a nurse"
