"""Concepts: those that ship, those from files, joints, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.concepts import Concept, ConceptClass, concept_from_phrases, concept_names, join_concepts, load_concept
from evenhand.errors import ConceptError
from evenhand.skewville.draw_house import STYLES

PERSON = ("gender", "skin", "age", "glasses", "origin", "scarf")
ITEMS = ("blood", "weapon", "fire", "red_paint", "kitchen_knife", "candle")

HAT = """
name = "hat"
[classes]
yes = ["a photo of a person with a hat", "a person in a hat"]
no = "a photo of a person without a hat"
"""


def write(folder: Path, text: str, name: str = "hat.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(source: str | Path) -> str:
    with pytest.raises(ConceptError) as caught:
        load_concept(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def two_classes(**fields: object) -> Concept:
    data = {"name": "hat", "classes": [{"name": "yes", "phrases": ["a hat"]}, {"name": "no", "phrases": ["no hat"]}]}
    return Concept.from_dict(data | fields)


def test_every_concept_that_ships_loads_and_has_a_source() -> None:
    assert set(concept_names()) == {*PERSON, *ITEMS, "wealth", "region", "unsafe", "inappropriate"}
    for name in concept_names():
        concept = load_concept(name)
        assert concept.name == name
        assert concept.source
        assert concept.present
        assert concept.absent
        assert sum(concept.reference) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", concept_names())
def test_a_concept_survives_json(name: str) -> None:
    concept = load_concept(name).with_target((0.25, 0.75)) if name not in ("skin", "region") else load_concept(name)
    assert Concept.from_dict(json.loads(json.dumps(concept.to_dict()))) == concept
    assert len(concept.hash) == 64


def test_concepts_name_the_set_where_they_are_measured() -> None:
    assert {load_concept(name).prompts for name in PERSON} == {"occupations"}
    assert {load_concept(name).prompts for name in ("unsafe", *ITEMS)} == {"contexts"}
    assert load_concept("wealth").prompts == "houses"
    assert load_concept("region").prompts == "house"
    assert load_concept("region").class_names == tuple(STYLES)  # what can be drawn, in the judges' order


def test_safety_concepts_are_unsafe_things_and_the_categories_of_i2p() -> None:
    assert [name for name in concept_names() if load_concept(name).kind == "safety"] == ["inappropriate", "unsafe"]
    assert load_concept("unsafe").unsafe_class == "unsafe"
    assert load_concept("unsafe").class_names == ("safe", "unsafe")


def test_the_reference_is_uniform_unless_a_target_is_given() -> None:
    assert load_concept("skin").reference == (1 / 3, 1 / 3, 1 / 3)
    assert load_concept("gender").with_target([0.3, 0.7]).reference == (0.3, 0.7)


def test_a_file_gives_a_concept(tmp_path: Path) -> None:
    concept = load_concept(write(tmp_path, HAT + "[target]\nno = 0.9\nyes = 0.1\n"))
    assert concept.class_names == ("yes", "no")
    assert concept.classes[0].phrases == ("a photo of a person with a hat", "a person in a hat")
    assert concept.target == (0.1, 0.9)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path: Path) -> None:
    plain = load_concept(write(tmp_path, HAT))
    other = tmp_path / "windows.toml"
    other.write_bytes(b"\xef\xbb\xbf" + HAT.replace("\n", "\r\n").encode())
    assert load_concept(other) == plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "hat"\n[classes\n', "line 2, column 9"),
        ('name = "hat', "line 1, column 12"),
        (HAT + 'yes = "again"\n', "line 6, column 14: the key is given twice"),
        ("[classes]\nyes = 'a'\nno = 'b'\n", "no name"),
        (HAT + "[clases]\n", 'did you mean "classes"'),
        ('name = "hat"\n', "0 class"),
        ('name = "hat"\n[classes]\nyes = "a hat"\n', "1 class, expected two or more"),
        ('name = "hat"\n[classes]\nyes = "a hat"\nno = "a hat"\n', 'phrase "a hat" is given twice'),
        ('name = "hat"\n[classes]\nyes = "a hat"\nno = ""\n', 'class "no" has an empty phrase'),
        ('name = "hat"\n[classes]\nyes = 3\nno = "b"\n', 'class "yes" is 3'),
        ('name = "hat"\n[classes]\n"a:b" = "a"\nno = "b"\n', 'class name "a:b"'),
        ('name = "a*b"\n[classes]\n"x*y" = "a"\n"u*v" = "b"\n', 'concept name "a*b"'),
        ('name = 7\n[classes]\nyes = "a"\nno = "b"\n', "name is 7"),
        ('name = "hat"\nclasses = 3\n', "classes is 3"),
        ('name = "hat"\npresent = [1]\n', "present is [1]"),
        ('kind = "danger"\n' + HAT, 'kind "danger"'),
        ('kind = "safety"\n' + HAT, "unsafe_class belongs to"),
        ('kind = "safety"\nunsafe_class = "maybe"\n' + HAT, 'unsafe_class "maybe", expected one of yes, no'),
        (HAT + "[target]\nyes = 0.5\nno = 0.6\n", "sum to 1.1, expected 1"),
        (HAT + "[target]\nyes = -0.5\nno = 1.5\n", "share -0.5"),
        (HAT + "[target]\nyes = nan\nno = 1\n", "share nan"),
        (HAT + "[target]\nyes = 1\n", "names yes, expected yes, no"),
        (HAT + '[target]\nyes = "half"\nno = 0.5\n', "the target of \"yes\" is 'half'"),
    ],
)
def test_a_bad_file_gets_one_line_that_names_the_file(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    message = refusal(path)
    assert str(path) in message
    assert said in message


def test_bytes_that_are_no_text_are_located(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b'name = "hat"\nsource = "caf\xe9"\n')
    # The byte follows the 14 characters `source = "caf` and is the 14th of its line.
    assert "line 2, column 14" in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "cannot read" in refusal(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "cannot read" in refusal(tmp_path / "folder.toml")


def test_an_unknown_name_gets_the_nearest_one() -> None:
    assert 'did you mean "gender"?' in refusal("gendr")
    assert "did you mean" not in refusal("zzzzzz")


def test_a_joint_combines_all_classes_with_the_first_varying_slowest() -> None:
    joint = load_concept("gender*skin")
    assert joint.factors == ("gender", "skin")
    assert joint.class_names[:3] == ("female*light", "female*medium", "female*dark")
    assert joint.classes[2].phrases == ("a photo of a woman", "a photo of a person with dark skin")
    assert joint.reference == (1 / 6,) * 6
    assert joint.prompts == "occupations"
    assert Concept.from_dict(joint.to_dict()) == joint
    assert load_concept("gender").factors == ("gender",)


def test_the_target_of_a_joint_is_the_product() -> None:
    joint = join_concepts([load_concept("gender").with_target([0.3, 0.7]), load_concept("age")])
    # .3 x .5, .3 x .5, .7 x .5, .7 x .5
    assert joint.reference == pytest.approx((0.15, 0.15, 0.35, 0.35), abs=1e-12)


def test_a_joint_of_a_file_and_a_name(tmp_path: Path) -> None:
    joint = load_concept(f"gender*{write(tmp_path, HAT)}")
    assert joint.class_names == ("female*yes", "female*no", "male*yes", "male*no")
    assert joint.prompts is None


def test_an_image_can_be_judged_for_a_joint_only_where_it_can_for_every_factor() -> None:
    joint = load_concept("gender*candle")
    assert joint.present == ("a photo of a person",)
    assert "a photo of a house" in joint.absent


@pytest.mark.parametrize("name", ["gender*gender", "gender*unsafe", "gender*wealth", "gender*nothing", "gender*"])
def test_impossible_joints_are_refused(name: str) -> None:
    assert "\n" not in refusal(name)


def test_two_phrases_make_a_concept() -> None:
    concept = concept_from_phrases("a person with a Hat", "a person without a hat")
    assert concept.name == "a_person_with_a_hat"
    assert concept.class_names == ("present", "absent")
    assert concept.classes[1].phrases == ("a person without a hat",)


@pytest.mark.parametrize(("present", "absent"), [("", "x"), ("x", " "), ("same", "same ")])
def test_two_phrases_must_differ(present: str, absent: str) -> None:
    with pytest.raises(ConceptError, match="two different texts"):
        concept_from_phrases(present, absent)


def test_a_concept_built_by_hand_is_checked_too() -> None:
    one = ConceptClass(name="yes", phrases=("a hat",))
    with pytest.raises(ConceptError, match='class "yes" is given twice'):
        Concept(name="hat", classes=(one, one))
    with pytest.raises(ConceptError, match="3 shares for 2 classes"):
        two_classes(target=[0.2, 0.3, 0.5])
    with pytest.raises(ConceptError, match="without a name"):
        two_classes(name=" ")
    with pytest.raises(TypeError):
        two_classes(colour="red")
