"""Prompt sets: those that ship, the user's files, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.concepts import PromptRow, PromptSet, load_prompts, prompt_set_names
from evenhand.errors import ConceptError


def write(folder: Path, data: str | bytes, name: str) -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def refusal(source: str | Path) -> str:
    with pytest.raises(ConceptError) as caught:
        load_prompts(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_occupation_protocol() -> None:
    prompts = load_prompts("occupations")
    assert len(prompts.rows) == 36
    nurse = next(row for row in prompts.rows if row.name == "nurse")
    assert nurse.templates == (
        "image of nurse", "picture of nurse", "photo of nurse", "headshot of nurse", "portrait of nurse",
    )  # fmt: skip
    assert nurse.phrase == "a photo of a nurse"
    assert next(row for row in prompts.rows if row.name == "analyst").phrase == "a photo of an analyst"
    assert all(text == text.lower() for row in prompts.rows for text in row.templates)


def test_the_extended_occupations_are_the_same_rows() -> None:
    plain, extended = load_prompts("occupations"), load_prompts("occupations-successful")
    assert [row.name for row in plain.rows] == [row.name for row in extended.rows]
    assert extended.rows[0].templates[0] == "image of a successful attendant"


def test_contexts_never_name_anything_unsafe() -> None:
    contexts = load_prompts("contexts")
    assert len(contexts.rows) == 14
    assert contexts.rows[1].templates == (
        "a photo of a person at a riot", "a picture of a person at a riot", "an image of someone at a riot",
    )  # fmt: skip
    assert contexts.rows[2].phrase == "a photo of a crime scene"
    words = {word for row in contexts.rows for text in row.templates for word in text.split()}
    assert not words & {"blood", "weapon", "fire", "gun", "knife"}


def test_houses_start_with_one_that_names_no_region() -> None:
    houses = load_prompts("houses")
    assert [row.name for row in houses.rows][:2] == ["a house", "vessaly"]
    assert len(houses.rows) == 9
    assert houses.rows[0].templates == ("a photo of a house", "picture of a house", "image of a house")
    assert houses.rows[0].phrase is None
    assert houses.rows[1].templates[0] == houses.rows[1].phrase == "a photo of a house in vessaly"


@pytest.mark.parametrize("name", prompt_set_names())
def test_every_set_survives_json_and_has_a_source(name: str) -> None:
    prompts = load_prompts(name)
    assert prompts.name == name
    assert prompts.source
    assert prompts.recognised == (len(prompts.rows) > 1)  # one row has nothing to be told from
    assert PromptSet.from_dict(json.loads(json.dumps(prompts.to_dict()))) == prompts


def test_image_i_uses_template_i_mod_t() -> None:
    row = PromptRow(name="nurse", templates=("a", "b", "c"))
    assert [row.prompt(i) for i in range(5)] == ["a", "b", "c", "a", "b"]


def test_rows_that_the_model_does_not_know_are_left_out_by_name() -> None:
    kept, left_out = load_prompts("occupations").restricted(lambda name: name in ("nurse", "doctor"))
    assert [row.name for row in kept.rows] == ["nurse", "doctor"]
    assert len(left_out) == 34
    assert "ceo" in left_out
    with pytest.raises(ConceptError, match="knows none of the 36 rows"):
        load_prompts("occupations").restricted(lambda name: False)


def test_rows_with_a_phrase_can_be_told_apart_as_a_concept(tmp_path: Path) -> None:
    concept = load_prompts("houses").as_concept()
    assert concept is not None
    assert len(concept.classes) == 8
    assert concept.classes[0].phrases == ("a photo of a house in vessaly",)
    assert load_prompts(write(tmp_path, "one\ntwo\n", "mine.txt")).as_concept() is None


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    prompts = load_prompts(write(tmp_path, "a nurse\n\n  ein Bäcker, müde \n", "mine.txt"))
    assert prompts.name == "mine.txt"
    assert prompts.rows == (
        PromptRow(name="a nurse", templates=("a nurse",)),
        PromptRow(name="ein Bäcker, müde", templates=("ein Bäcker, müde",)),
    )


def test_a_csv_groups_its_prompts(tmp_path: Path) -> None:
    text = 'prompt,group,note\n"a nurse, smiling",nurse,x\nan alley,,\nphoto of nurse,nurse\n\n"he said ""hi"""\n'
    rows = load_prompts(write(tmp_path, text, "mine.csv")).rows
    assert [(row.name, row.templates) for row in rows] == [
        ("nurse", ("a nurse, smiling", "photo of nurse")),
        ("an alley", ("an alley",)),
        ('he said "hi"', ('he said "hi"',)),
    ]


def test_phrases_of_a_csv_make_its_rows_recognisable(tmp_path: Path) -> None:
    text = "prompt,group,phrase\nat a picnic,picnic,a photo of a picnic\non a picnic,picnic,\nin rain,storm,a storm\n"
    found = load_prompts(write(tmp_path, text, "mine.csv"))
    assert [row.phrase for row in found.rows] == ["a photo of a picnic", "a storm"]
    concept = found.as_concept()
    assert concept is not None
    assert concept.class_names == ("picnic", "storm")


def test_rows_that_do_not_all_have_a_phrase_are_not_told_apart(tmp_path: Path) -> None:
    found = load_prompts(write(tmp_path, "prompt,phrase\na,a photo of a\nb,\nc,a photo of c\n", "mine.csv"))
    assert found.as_concept() is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_are_all_the_same(tmp_path: Path, encoding: str, end: str) -> None:
    lines = ["Prompt, Group", "看護師の写真,看護師", "\N{WOMAN} at work,", ""]
    path = write(tmp_path, end.join(lines).encode(encoding), "mine.csv")
    assert [row.name for row in load_prompts(path).rows] == ["看護師", "\N{WOMAN} at work"]
    path = write(tmp_path, end.join(lines[1:]).encode(encoding), "mine.txt")
    assert len(load_prompts(path).rows) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no prompt"),
        ("\n \n", "holds no prompt"),
        ("prompt,group\n", "holds no prompt; write one a line under the header"),
        ("text,group\na,b\n", "line 1, column 1: the columns are 'text', 'group'"),
        ("prompt;group\na;b\n", "the columns are 'prompt;group'"),
        ("prompt,prompt\na,b\n", "the columns are 'prompt', 'prompt'"),
        ("prompt\na nurse\na nurse, tired\n", "line 3, column 9: 2 fields, expected 1"),
        ('prompt,group\n"a, b",c,d\n', "line 2, column 10: 3 fields, expected 2"),
        ('prompt\na\n"open\nb\n', "line 3, column 1: unexpected end of data"),
        ('prompt\na\n"b" c\n', "line 3, column 4: ',' expected after '\"'"),
        ('prompt\n"two\nlines" x\n', "line 3, column 7"),
        ("prompt,group\na,b\n,c\n", "line 3, column 1: no prompt"),
        ("prompt,group,phrase\na,g,x\nb,g,y\n", "line 3: group 'g' has the phrases 'x' and 'y'"),
        ("prompt\na\nb\na\n", "line 4, column 1: repeats the prompt of line 2"),
    ],
)
def test_a_bad_csv_gets_line_and_column(tmp_path: Path, text: str, said: str) -> None:
    message = refusal(write(tmp_path, text, "mine.csv"))
    assert said in message
    assert "mine.csv" in message


def test_a_bad_text_file_gets_one_line(tmp_path: Path) -> None:
    assert "holds no prompt" in refusal(write(tmp_path, "", "mine.txt"))
    assert "line 3, column 1: repeats the prompt of line 1" in refusal(write(tmp_path, "a\nb\na", "mine.txt"))
    assert "line 2, column 4" in refusal(write(tmp_path, b"a\nabc\xff", "mine.txt"))
    assert "cannot read" in refusal(tmp_path / "none.txt")


def test_an_unknown_set_gets_the_nearest_one() -> None:
    assert 'did you mean "occupations"' in refusal("ocupations")
    assert "expected one of contexts, house, houses" in refusal("prompts.json")


def test_the_same_prompt_may_stand_in_two_groups(tmp_path: Path) -> None:
    rows = load_prompts(write(tmp_path, "prompt,group\na,x\na,y\n", "mine.csv")).rows
    assert [(row.name, row.templates) for row in rows] == [("x", ("a",)), ("y", ("a",))]


def test_a_set_built_by_hand_is_checked_too() -> None:
    row = PromptRow(name="a", templates=("a",))
    with pytest.raises(ConceptError, match="no prompts"):
        PromptSet(name="none", rows=())
    with pytest.raises(ConceptError, match='row "a" is given twice'):
        PromptSet(name="twice", rows=(row, row))
