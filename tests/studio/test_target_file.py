"""A target from a CSV: shares, percentages or counts, exact; what cannot be used is said by its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.concepts.library import load_concept
from evenhand.concepts.target import parse_target
from evenhand.errors import InputError
from evenhand.studio.target_file import targets_of_csv

GENDER, SKIN = load_concept("gender"), load_concept("skin")


def test_counts_shares_and_percentages_say_the_same() -> None:
    for female, male in (("3", "1"), ("0.75", "0.25"), ("75 %", "25%"), ("3/4", "1/4")):
        assert targets_of_csv(f"class,share\nfemale,{female}\nmale,{male}\n", [GENDER]) == (
            "gender=female:3/4,male:1/4",
        )


def test_a_file_of_several_concepts_names_them() -> None:
    text = "\ufeffConcept,Class,Share\nskin,light,1\ngender,male,2\n\nskin,dark,1\ngender,female,2\n"
    assert targets_of_csv(text, [GENDER, SKIN]) == (
        "skin=light:1/2,medium:0,dark:1/2",
        "gender=female:1/2,male:1/2",
    )


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3).filter(any))
def test_the_target_is_the_proportion_of_the_counts(counts: list[int]) -> None:
    text = "class,share\n" + "".join(f"{name},{n}\n" for name, n in zip(SKIN.class_names, counts, strict=True))
    (target,) = targets_of_csv(text, [GENDER, SKIN])
    name, shares = parse_target(target, [SKIN])
    assert name == "skin"
    assert shares == pytest.approx([n / sum(counts) for n in counts])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "of no header"),
        ("name,share\n", "the columns name, share: expected"),
        ("class,share\n", "no line behind its header"),
        ("class,share\nfemael,1\n", 'line 2: .*did you mean "female"'),
        ("class,share\nfemale,many\n", "line 2: share 'many'"),
        ("class,share\nfemale,-1\n", "expected 0 or more"),
        ("class,share\nfemale,0\nmale,0\n", "every share is 0"),
        ("class,share\nfemale,1\nfemale,1\n", "line 3: gender female is given twice"),
        ("concept,class,share\nage,old,1\n", "line 2: 'age' is not looked at"),
    ],
)
def test_what_cannot_be_used_is_said_by_its_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        targets_of_csv(text, [GENDER])


def test_a_class_of_two_concepts_needs_the_column_of_concepts() -> None:
    with pytest.raises(InputError, match="add a column concept"):
        targets_of_csv("class,share\nyes,1\n", [load_concept("glasses"), load_concept("scarf")])
