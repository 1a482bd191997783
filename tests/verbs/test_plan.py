"""Plans: the images that goals take, by the formulas of the audit, and locks that are kept to or not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binom
from toys import ToyHost

from evenhand.errors import InputError
from evenhand.metrics.decision import decide, images_for_biased_verdict
from evenhand.metrics.rows import Row
from evenhand.metrics.sequences import confidence_sequence, images_for_sequence
from evenhand.report.build import write_report
from evenhand.report.data import read_run
from evenhand.report.label_sheet import write_label_sheet
from evenhand.report.plan_text import minutes, plan_lines
from evenhand.verbs.audit import audit
from evenhand.verbs.config import AuditConfig, Effort, Question, images_for
from evenhand.verbs.plan import plan
from evenhand.verbs.prepare import prepare
from evenhand.verbs.registration import announced, read_lock

Install = Callable[..., ToyHost]


def config(out: Path | None = None, **changes: Any) -> AuditConfig:
    question = {"concepts": ("gender",), "limit": 2, **changes.pop("question", {})}
    effort = Effort(**{"images_per_prompt": 6, "seed": 1, **changes.pop("effort", {})})
    return AuditConfig(
        **{"source": "a/model", "question": Question(**question), "effort": effort, "out": out, **changes}
    )


def goals(found: Any, concept: str) -> dict[str, int]:
    return {one["text"]: one["per_prompt"] for one in found["goals"] if one["concept"] == concept}


def test_goals_take_what_the_statistics_of_the_audit_take(toy: Install) -> None:
    toy()
    found = plan(config(question={"concepts": ("gender", "unsafe")}), timing=False)
    gender, unsafe = goals(found, "gender"), goals(found, "unsafe")
    assert gender["the share of a prompt to +-0.05"] == images_for(0.05) == 381
    assert gender["the same with --precision 0.05"] == images_for_sequence(0.05)
    assert gender["a fair prompt is called fair, power 0.9"] == 271
    # zero of 299 bounds the rate below 1 %: two prompts share them
    assert unsafe["below 1.0% over all prompts, if none is unsafe"] == 150
    # 467 pairs show that a rate is not 3 points worse where 4 % of them change
    assert unsafe["not worse by 0.03 than another model, if 4% of the pairs change, power 0.9"] == 234
    # two prompts of either concept, and two of the harmless look-alikes beside the unsafe ones, six images each
    assert found["images"] == 2 * 6 + 2 * 6 + 2 * 6
    assert {one["series"] for one in found["goals"]} == {"occupations", "contexts"}
    assert found["minutes"] is None
    assert {one["images"] for one in found["goals"] if one["chosen"]} == {12}


def test_a_biased_verdict_is_found_as_often_as_planned() -> None:
    # (1.95996 sqrt(.6 x .4) + 1.28155 sqrt(.8 x .2)) / .2 = 7.364, squared 54.2
    n = images_for_biased_verdict(0.2)
    assert n == 55

    def biased(k: int) -> bool:
        row = Row(name="", classes=("a", "b"), strata=((k, n - k),), assigned=(None,), abstained=0)
        return "biased" in decide(row, [0.5, 0.5])

    power = sum(float(binom.pmf(k, n, 0.8)) for k in range(n + 1) if biased(k))
    assert 0.85 <= power <= 0.95


def test_a_miss_that_no_class_can_have_is_refused() -> None:
    with pytest.raises(InputError, match="within what is possible"):
        images_for_biased_verdict(0.5)


def test_a_short_run_gives_the_minutes(toy: Install) -> None:
    host = toy(batch_size=4)
    found = plan(config())
    assert host.batches == [4, 4]  # the first warms up
    # 2 steps of 2 rows an image
    assert found["evaluations_per_image"] == 4
    assert found["seconds_per_image"] > 0
    assert found["minutes"] == pytest.approx(12 * found["seconds_per_image"] / 60)
    assert "4 denoiser evaluations per image" in plan_lines(found)[0]


def test_long_times_are_told_in_hours() -> None:
    assert [minutes(one) for one in (None, 0.25, 42.4, 180.0)] == ["–", "0.2", "42", "3 h"]


def test_an_audit_that_keeps_to_its_plan_is_pre_registered(tmp_path: Path, toy: Install) -> None:
    toy()
    lock = tmp_path / "plan.json"
    found = plan(config(), to=lock)
    done = audit(config(tmp_path / "run", plan=lock))
    registration = done.result["registration"]
    assert registration["status"] == "pre-registered"
    assert registration["plan"] == found["lock"]["hash"] == read_lock(lock)["hash"]
    page = write_report(done.run).read_text("utf-8")
    assert "audit of a/model · pre-registered" in page
    assert f"pre-registered: as locked at {registration['locked']}" in page


def test_without_a_plan_an_audit_is_exploratory(tmp_path: Path, toy: Install) -> None:
    toy()
    done = audit(config(tmp_path / "run"))
    assert done.result["registration"]["status"] == "exploratory"
    assert "audit of a/model · exploratory" in write_report(done.run).read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"effort": {"images_per_prompt": 7}}, "images_per_prompt, prompts"),
        ({"effort": {"seed": 2}}, "prompts, seed"),
        ({"question": {"targets": ("gender=female:0.4,male:0.6",)}}, "concepts"),
        ({"judge": "another"}, "judge"),
    ],
)
def test_whatever_differs_from_the_plan_makes_it_exploratory_and_is_named(
    tmp_path: Path, toy: Install, change: dict[str, Any], named: str
) -> None:
    toy()
    lock = tmp_path / "plan.json"
    plan(config(), timing=False, to=lock)
    done = audit(config(tmp_path / "run", plan=lock, **change))
    found = done.result["registration"]
    assert (found["status"], found["why"]) == ("exploratory", f"it differs from the plan in {named}")


def test_labels_stand_in_no_plan(tmp_path: Path, toy: Install) -> None:
    toy()
    lock, sheet = tmp_path / "plan.json", tmp_path / "sheet.csv"
    plan(config(), timing=False, to=lock)
    done = audit(config(tmp_path / "run", plan=lock))
    assert done.result["registration"]["status"] == "pre-registered"
    write_label_sheet(read_run(done.run), sheet, images=12)
    sheet.write_text(sheet.read_text().replace(",\n", ",female\n"))
    ask = config(tmp_path / "run", plan=lock, labels=sheet)
    assert "human labels" in str(announced(prepare(ask)))  # known before any image is made
    found = audit(ask).result["registration"]
    assert (found["status"], found["why"]) == ("exploratory", announced(prepare(ask)))


def test_intervals_that_hold_whenever_one_stops_are_planned_for() -> None:
    (text,) = [one["text"] for one in plan(config(effort={"any_time": True}), timing=False)["goals"] if one["chosen"]]
    low, high = confidence_sequence(3, 6)
    assert text == f"as asked: the share of a prompt to +-{(high - low) / 2:.3f}, whenever one stops"


def test_device_and_batch_are_no_part_of_the_question(tmp_path: Path, toy: Install) -> None:
    from evenhand.verbs.config import ModelOptions

    toy()
    lock = tmp_path / "plan.json"
    plan(config(), timing=False, to=lock)
    done = audit(config(tmp_path / "run", plan=lock, model=ModelOptions(batch_size=2, device="cpu")))
    assert done.result["registration"]["status"] == "pre-registered"


def test_another_judge_of_the_same_name_is_found_out(tmp_path: Path, toy: Install) -> None:
    toy()
    lock = tmp_path / "plan.json"
    plan(config(), to=lock)
    data = json.loads(lock.read_text())
    assert data["locked"]["judge_hash"] == "toy"
    data["locked"]["judge_hash"] = "other"
    from evenhand.records import content_hash

    lock.write_text(json.dumps({**data, "hash": content_hash(data["locked"])}))
    done = audit(config(tmp_path / "run", plan=lock))
    assert "another one than in the plan" in done.result["registration"]["why"]


def test_a_run_that_was_begun_before_its_plan_is_exploratory(tmp_path: Path, toy: Install) -> None:
    toy()
    audit(config(tmp_path / "run"))
    run = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps({**run, "started": "2020-01-01T00:00:00+00:00"}))
    lock = tmp_path / "plan.json"
    plan(config(), timing=False, to=lock)
    done = audit(config(tmp_path / "run", plan=lock))
    assert done.result["registration"]["why"] == "the run was begun before the plan was locked"


def test_a_lock_is_not_changed(tmp_path: Path, toy: Install) -> None:
    toy()
    lock = tmp_path / "plan.json"
    plan(config(), timing=False, to=lock)
    text = lock.read_text()
    plan(config(), timing=False, to=lock)
    assert lock.read_text() == text
    with pytest.raises(InputError, match="a locked plan is not changed"):
        plan(config(effort={"seed": 9}), timing=False, to=lock)
    lock.write_text(text.replace('"seed": 1', '"seed": 2'))
    with pytest.raises(InputError, match="was changed after it was locked"):
        audit(config(tmp_path / "run", plan=lock))
    lock.write_text("{}")
    with pytest.raises(InputError, match="is no plan"):
        audit(config(tmp_path / "run", plan=lock))
    with pytest.raises(InputError, match="cannot read"):
        audit(config(tmp_path / "run", plan=tmp_path / "nowhere.json"))
    assert not (tmp_path / "run").exists()
