"""What audits of images are known to get wrong, each shown on an audit of a folder whose truth is known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toys import NOTHING, ToyHost

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.library import load_concept
from evenhand.concepts.prompt_filter import reason_to_leave
from evenhand.concepts.prompts import load_prompts
from evenhand.errors import ConceptError, InputError, ThresholdError
from evenhand.metrics.changes import attribute_changes
from evenhand.records import Estimate
from evenhand.report.build import write_report
from evenhand.verbs.audit import Audit, audit
from evenhand.verbs.config import AuditConfig, Question
from evenhand.verbs.thresholds import check_thresholds, parse_threshold


def folder(path: Path, lines: Sequence[tuple[str, str]], concept: str, grey: int = 60) -> Path:
    """Images of (prompt, label), all of one grey; without a label where it is empty."""
    path.mkdir()
    text = [f"file,prompt,label:{concept}" if concept else "file,prompt"]
    for number, (prompt, label) in enumerate(lines):
        Image.fromarray(np.full((8, 8, 3), grey, dtype=np.uint8)).save(path / f"{number}.png")
        text.append(f"{number}.png,{prompt}" + (f",{label}" if concept else ""))
    (path / "manifest.csv").write_text("\n".join(text) + "\n")
    return path


def run(source: Path, *concepts: str, **more: Any) -> Audit:
    question = Question(concepts=concepts, targets=more.pop("targets", ()))
    return audit(AuditConfig(source=str(source), question=question, out=source.parent / "run", **more))


def find(done: Audit, metric: str, **fields: Any) -> list[Estimate]:
    return [
        one
        for one in done.estimates
        if one.metric == metric and all(getattr(one, name) == value for name, value in fields.items())
    ]


def mixed(prompt: str, women: int, men: int) -> list[tuple[str, str]]:
    return [(prompt, "female")] * women + [(prompt, "male")] * men


# opposite biases that cancel when pooled


def test_opposite_biases_cancel_in_the_pooled_share_and_nowhere_that_decides(tmp_path: Path) -> None:
    done = run(folder(tmp_path / "f", mixed("a nurse", 90, 10) + mixed("a mechanic", 10, 90), "gender"), "gender")
    (pooled,) = find(done, "share", prompt=None, class_name="female", scope="these")
    assert (pooled.value, pooled.decision) == (0.5, None)
    # root mean square of two misses of .4, less the noise of 100 images: sqrt(.16 - .09 / 99) = .399
    (deviation,) = find(done, "deviation", scope="these")
    assert deviation.value == pytest.approx((0.16 - 0.09 / 99) ** 0.5)
    assert (deviation.low or 0) > 0.3
    assert {one.decision for one in find(done, "share") if one.prompt} == {"biased"}
    with pytest.raises(ThresholdError):
        check_thresholds([parse_threshold("deviation.gender<=0.1", [load_concept("gender")])], done.estimates)


def test_prompts_that_move_in_opposite_directions_have_changed() -> None:
    half = ["female"] * 40 + ["male"] * 40
    before = {"nurse": half, "mechanic": half}
    after = {"nurse": ["female"] * 80, "mechanic": ["male"] * 80}
    found = attribute_changes(load_concept("gender"), before, after, intervention="x")
    (share,) = [
        one for one in found if one.metric == "change:share" and one.prompt is None and one.class_name == "male"
    ]
    (deviation,) = [one for one in found if one.metric == "change:deviation"]
    assert share.value == 0
    assert share.p_value == 1
    assert (deviation.value or 0) > 0.4
    assert (deviation.p_value or 1) < 0.01


# classes that are never observed


def test_a_class_that_is_never_seen_counts_as_missing_and_is_not_forgotten(tmp_path: Path) -> None:
    lines = [("a chef", "light")] * 30 + [("a chef", "medium")] * 30
    done = run(folder(tmp_path / "f", lines, "skin"), "skin")
    (dark,) = find(done, "share", prompt="a chef", class_name="dark")
    assert (dark.value, dark.low, dark.n) == (0, 0, 60)
    assert 0 < (dark.high or 0) < 0.15  # none of 60 is no proof that there are none
    assert dark.decision == "biased"
    # max |p - 1/3| / (1 - 1/3) = (1/3) / (2/3)
    (ratio,) = find(done, "deviation_ratio", prompt="a chef")
    assert ratio.value == pytest.approx(0.5)
    (kl,) = find(done, "kl", prompt="a chef")
    # 2 x .5 ln(.5 / (1/3)): the class that is not there adds nothing, and no infinity
    assert kl.value == pytest.approx(np.log(1.5))


def test_a_class_that_is_not_wanted_and_never_seen_is_no_miss(tmp_path: Path) -> None:
    lines = [("a chef", "light")] * 30 + [("a chef", "medium")] * 30
    done = run(folder(tmp_path / "f", lines, "skin"), "skin", targets=("skin=light:0.5,medium:0.5,dark:0",))
    assert [one.value for one in find(done, "deviation_ratio", prompt="a chef")] == [0]


# images without a person


@pytest.mark.parametrize("concept", ["gender", "unsafe"])
def test_images_that_show_nothing_are_neither_a_class_nor_clean(
    tmp_path: Path, toy: Callable[..., ToyHost], concept: str
) -> None:
    toy()
    empty = [("a chef", "")] * 20
    done = run(folder(tmp_path / "f", empty, "", grey=NOTHING), concept, judge="toy")
    metric = "unsafe_rate" if concept == "unsafe" else "share"
    found = find(done, metric, prompt="a chef")
    assert {(one.value, one.n, one.abstained) for one in found} == {(None, 0, 20)}
    text = json.dumps(done.result, allow_nan=False)
    assert '"value": 0' not in text
    page = write_report(done.run).read_text("utf-8")
    assert "the judge abstained on all 20 pictures" in page
    assert "0\u00a0% to 100\u00a0%" in page  # the worst case


def test_missing_people_do_not_look_like_bias(tmp_path: Path) -> None:
    lines = mixed("a chef", 30, 30) + [("a chef", "")] * 40
    done = run(folder(tmp_path / "f", lines, "gender"), "gender")
    (share,) = find(done, "share", prompt="a chef", class_name="female")
    assert (share.value, share.n, share.abstained) == (0.5, 60, 40)
    # but the bounds say what they could be: 30 to 70 of 100
    assert "female 30\u00a0% to 70\u00a0%" in write_report(done.run).read_text("utf-8")


# "male" inside "female"


def test_male_is_not_found_inside_female() -> None:
    gender = load_concept("gender")
    assert reason_to_leave("a photo of a female nurse", gender) == "names 'female'"
    assert reason_to_leave("a photo of a malefactor, a nurse", gender) is None


def test_a_label_is_its_class_and_no_part_of_one(tmp_path: Path) -> None:
    done = run(folder(tmp_path / "f", mixed("a chef", 50, 0), "gender"), "gender")
    (male,) = find(done, "share", prompt="a chef", class_name="male")
    assert male.value == 0
    source = folder(tmp_path / "g", [("a chef", "fe")], "gender")
    with pytest.raises(InputError, match="'fe' is no class of gender"):
        run(source, "gender")
    with pytest.raises(InputError, match="class mal "):
        parse_threshold("share.gender.mal>=0.4", [load_concept("gender")])


# duplicate prompts


def test_a_prompt_that_is_given_twice_is_refused_or_its_images_are_new_ones(tmp_path: Path) -> None:
    text = tmp_path / "p.txt"
    text.write_text("a chef\na nurse\na chef\n")
    with pytest.raises(ConceptError, match=r"line 3, column 1: repeats the prompt of line 1; remove one"):
        load_prompts(text)
    table = tmp_path / "p.csv"
    table.write_text("prompt,group\na cook,chef\na cook,kitchen\n")
    names = [row.name for row in load_prompts(table).rows]
    # one prompt in two groups is asked with other seeds: the second row is no copy of the first
    assert len({image_seed(0, "report", name, 0) for name in names}) == 2


def test_lines_of_one_prompt_are_one_row_and_a_file_counts_once(tmp_path: Path) -> None:
    lines = [*mixed("a chef", 1, 1), *mixed("a nurse", 1, 1), *mixed("a chef", 1, 1)]
    source = folder(tmp_path / "f", lines, "gender")
    done = run(source, "gender")
    assert {one.prompt: one.n for one in find(done, "share") if one.prompt} == {"a chef": 4, "a nurse": 2}
    manifest = source / "manifest.csv"
    manifest.write_text(manifest.read_text() + "0.png,a chef,female\n")
    with pytest.raises(InputError, match=r"line 8: 0\.png stands in line 2 already"):
        run(source, "gender")
