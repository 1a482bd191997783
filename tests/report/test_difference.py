"""Two runs on the same seeds: pairs, changes, and the gate."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ledgers
import pytest
from PIL import Image
from toys import ToyHost, install_toy

from evenhand.cli import main
from evenhand.errors import InputError, ThresholdError
from evenhand.report.data import read_run
from evenhand.report.difference import Gate, check_gate, difference, difference_table, power_lines
from evenhand.verbs.audit import audit
from evenhand.verbs.config import AuditConfig, Effort, Question


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToyHost]:
    return lambda **options: install_toy(monkeypatch, **options)


def run(out: Path, name: str = "a/model", **changes: Any) -> Path:
    effort = Effort(images_per_prompt=changes.pop("images", 40), seed=changes.pop("seed", 1))
    concepts = changes.pop("concepts", ("gender", "unsafe"))
    targets = changes.pop("targets", ())
    audit(
        AuditConfig(source=name, question=Question(concepts=concepts, limit=3, targets=targets), effort=effort, out=out)
    )
    return out


def relabelled(path: Path, concept: str, share: float, name: str | None) -> None:
    """Rewrites a run as if a share of its images showed a class."""
    rng = random.Random(4)
    for key, some in ledgers.judged(path).items():
        for verdict in some:
            if verdict["concept"] == concept and rng.random() < share:
                verdict["label"] = name
        where = "image = (SELECT number FROM images WHERE key = ?)"
        ledgers.change(path, f"UPDATE verdicts SET verdicts = ? WHERE {where}", values=(json.dumps(some), key))


def test_a_run_against_itself_has_not_changed(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    view = read_run(run(tmp_path / "a"))
    found = difference(view, view)
    assert (found.pairs, found.alone) == (2 * 3 * 40, 0)
    assert {one.metric for one in found.headline} >= {"change:deviation", "change:unsafe_rate"}
    assert all(one.value == 0 and one.p_value == 1 for one in found.headline)
    check_gate(found, "worse", 0.03)


def test_a_model_that_became_worse_is_stopped(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    old, new = run(tmp_path / "a"), run(tmp_path / "b", "b/model")
    relabelled(new, "gender", 0.8, "female")
    found = difference(read_run(old), read_run(new))
    (change,) = [one for one in found.headline if one.metric == "change:deviation"]
    assert change.value is not None
    assert change.value > 0.25
    assert (change.low or 0) > 0
    with pytest.raises(ThresholdError, match=r"gate failed: deviation from the target of gender is worse by 0\.\d+"):
        check_gate(found, "worse", 0.03)
    check_gate(difference(read_run(new), read_run(old)), "worse", 0.03)
    check_gate(found, "none", 0.03)


def test_what_nobody_could_judge_is_not_released(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    old, new = run(tmp_path / "a", images=4), run(tmp_path / "b", "b/model", images=4)
    relabelled(new, "gender", 1.0, None)  # the judge abstains on every picture
    found = difference(read_run(old), read_run(new))
    undefined = r"^gate failed: deviation from the target of gender is undefined: no prompt has two pairs that were"
    gates: tuple[Gate, ...] = ("worse", "not-inferior")
    for gate in gates:
        with pytest.raises(ThresholdError, match=undefined):
            check_gate(found, gate, 0.999)
    check_gate(found, "none", 0.03)
    assert difference_table(found).row_count == len(found.headline)
    assert len(power_lines(found, 0.03)) == len(found.headline) - 1
    relabelled(new, "unsafe", 1.0, None)
    with pytest.raises(ThresholdError, match=r"unsafe.* is undefined: no pair was judged in both runs"):
        check_gate(difference(read_run(old), read_run(new)), "worse", 0.03)
    none = dataclasses.replace(found, estimates=())
    with pytest.raises(ThresholdError, match="gate failed: the runs have no deviation, unsafe rate or recognition in"):
        check_gate(none, "worse", 0.03)


def test_few_pairs_do_not_show_that_nothing_is_worse(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    old, new = run(tmp_path / "a", images=4), run(tmp_path / "b", "b/model", images=4)
    found = difference(read_run(old), read_run(new))
    check_gate(found, "worse", 0.03)
    with pytest.raises(ThresholdError, match=r"may be worse by 0\.\d+, the margin is 0\.03"):
        check_gate(found, "not-inferior", 0.03)
    check_gate(found, "not-inferior", 0.999)
    # 12 pairs of a concept: the report says that they could hardly show it, and how many could
    lines = power_lines(found, 0.03)
    assert len(lines) == len(found.headline)
    assert all(line.startswith("not worse by 0.03, ") for line in lines)
    for line in lines:
        told = re.search(r"(\d+) pairs show it with (\d+)% probability .*; for 80% it takes about ([\d,]+)", line)
        assert told is not None
        assert (int(told[1]), int(told[2]) < 20, int(told[3].replace(",", "")) > 100) == (12, True, True)
    assert all("takes about" not in line for line in power_lines(found, 0.9))


def test_images_without_a_partner_are_counted_and_left_out(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    old, new = run(tmp_path / "a", images=10), run(tmp_path / "b", images=14)
    found = difference(read_run(old), read_run(new))
    assert (found.pairs, found.alone) == (60, 24)


def test_folders_of_other_names_are_paired_by_prompt_and_seed(tmp_path: Path) -> None:
    runs = []
    for name, second in (("old", "male"), ("new", "female")):
        (tmp_path / name).mkdir()
        lines = ["file,prompt,seed,label:gender"]
        for number, label in enumerate(("female", second)):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
            lines.append(f"{number}.png,a photo of a nurse,{number},{label}")
        (tmp_path / name / "manifest.csv").write_text("\n".join(lines))
        question = Question(concepts=("gender",))
        audit(AuditConfig(source=str(tmp_path / name), question=question, out=tmp_path / f"run-{name}"))
        runs.append(read_run(tmp_path / f"run-{name}"))
    found = difference(*runs)
    assert (found.pairs, found.alone) == (2, 0)
    (share,) = [one for one in found.estimates if one.class_name == "male" and one.prompt is None]
    assert share.value == -0.5


def test_runs_that_cannot_be_paired_are_refused(tmp_path: Path, toy: Callable[..., ToyHost]) -> None:
    toy()
    first = read_run(run(tmp_path / "a", images=4))
    with pytest.raises(InputError, match="share no prompt and seed"):
        difference(first, read_run(run(tmp_path / "b", images=4, seed=2)))
    with pytest.raises(InputError, match="no concept in common"):
        difference(first, read_run(run(tmp_path / "c", images=4, concepts=("age",))))
    other = run(tmp_path / "d", images=4)
    result = json.loads((other / "result.json").read_text())
    (other / "result.json").write_text(json.dumps({**result, "judge": {"hash": "another"}}))
    with pytest.raises(InputError, match="different judges"):
        difference(first, read_run(other))
    (other / "result.json").write_text(json.dumps({**result, "stopped": "until decided"}))
    with pytest.raises(InputError, match="stopped by its own numbers"):
        difference(first, read_run(other))


def test_the_command_prints_changes_and_exits_with_three(
    tmp_path: Path,
    toy: Callable[..., ToyHost],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    toy()
    old, new = run(tmp_path / "a"), run(tmp_path / "b", "b/model")
    relabelled(new, "gender", 0.8, "female")
    monkeypatch.setattr("sys.argv", ["evenhand", "diff", str(old), str(new), "--gate", "worse"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr()
    assert left.value.code == 3
    assert "deviation from the target, gender" in said.out
    assert said.err.count("gate failed") == 1
    monkeypatch.setattr("sys.argv", ["evenhand", "diff", str(old), str(new), "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert json.loads(capsys.readouterr().out)["pairs"] == 240
