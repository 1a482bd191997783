"""Policies: a file is understood whole or refused with the place that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evenhand.errors import InputError
from evenhand.serve.policy import PLAIN, load_policy, policy_schema

WHOLE = """
schema = "evenhand.serving-policy/1"
name = "house"
version = 3
[[safety]]
name = "violence"
text = "blood, weapon, fire"
strength = 1.5
[[fairness]]
concept = "gender"
target = { female = 0.5, male = 0.5 }
[[fairness]]
concept = "skin"
method = "prompt-mix"
words = "{}-skinned"
[[prompt_filter]]
category = "weapons"
terms = ["rifle"]
[gate]
action = "refuse"
threshold = 0.7
[interventions.calm]
with = "safe-guidance:preset=max"
max_strength = 2
[limits]
images = 4
sizes = ["64x64", "128x64"]
[[watch.shares]]
concept = "age"
class = "old"
at_most = 0.6
[log]
days = 0
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return path


def test_a_whole_policy(tmp_path: Path) -> None:
    policy = load_policy(written(tmp_path, WHOLE))
    assert policy.label == f"house/3#{policy.hash[:8]}"
    assert policy.safety[0].strength == 1.5
    assert policy.fairness[0].resolved().reference == (0.5, 0.5)
    assert policy.interventions["calm"].spec == "safe-guidance:preset=max"
    assert policy.watch.shares[0].class_name == "old"
    assert policy.gate is not None
    assert policy.gate.tries == 3


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    one = load_policy(written(tmp_path, WHOLE))
    other = load_policy(written(tmp_path, WHOLE + "\n# a remark\n"))
    third = load_policy(written(tmp_path, WHOLE.replace("0.7", "0.8")))
    assert one.hash == other.hash != third.hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("version = 3", ""), "version: Field required"),
        (("version = 3", "version = 3\nbanana = 1"), "banana: Extra inputs are not permitted"),
        (("threshold = 0.7", "threshold = 7"), "gate.threshold: Input should be less than or equal to 1"),
        (('action = "refuse"', 'action = "shout"'), "gate.action: Input should be 'flag', 'resample' or 'refuse'"),
        (("female = 0.5", "female = 0.6"), "the shares sum to 1.1"),
        (("female = 0.5, male", "woman = 0.5, male"), "the target names woman, male, expected female, male"),
        (('concept = "gender"', 'concept = "gendre"'), 'did you mean "gender"'),
        (('words = "{}-skinned"', 'words = "skinned"'), "words=skinned, expected a text with one {} in it"),
        (('concept = "skin"', 'concept = "gender*skin"'), "gender stands in two rules"),
        (('concept = "skin"', 'concept = "unsafe"'), "a safety concept has no shares"),
        (('class = "old"', 'class = "older"'), "age has no class 'older'"),
        (('sizes = ["64x64"', 'sizes = ["64by64"'), "limits.sizes.0"),
        (("[gate]", '[gate]\nconcept = "gender"'), "gate: gender is no safety concept"),
        (('name = "house"', 'name = "../house"'), "name: String should match pattern"),
        (("days = 0", "days ="), "Invalid value"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in WHOLE
    with pytest.raises(InputError) as error:
        load_policy(written(tmp_path, WHOLE.replace(*change)))
    assert message in str(error.value)
    assert "policy.toml" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_schema_describes_every_table() -> None:
    schema = policy_schema()
    assert {"safety", "fairness", "prompt_filter", "gate", "interventions", "limits", "watch", "log"} <= set(
        schema["properties"]
    )
    assert schema["required"] == ["name", "version"]


def test_the_published_schema_is_that_of_the_server() -> None:
    """`evenhand serve --policy-schema > docs/serving-policy.schema.json` writes it."""
    published = Path(__file__).parents[2] / "docs" / "serving-policy.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == policy_schema()


def test_without_a_policy_nothing_is_wanted() -> None:
    wishes = (PLAIN.safety, PLAIN.fairness, PLAIN.prompt_filter, PLAIN.gate, PLAIN.interventions)
    assert not any(wishes)
