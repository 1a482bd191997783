"""Audits that stop by themselves: each prompt on its own, with intervals that allow it, and nothing else printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ledgers
import pytest
from toys import ToyHost

from evenhand.errors import InputError
from evenhand.interventions.assignment import Assigned
from evenhand.metrics.sequences import bias_evidence, confidence_sequence
from evenhand.report.build import write_report
from evenhand.verbs.arm import Arm
from evenhand.verbs.audit import audit
from evenhand.verbs.config import AuditConfig, Effort, Question
from evenhand.verbs.sequential import ROUND, check_allocation

Install = Callable[..., ToyHost]


def config(out: Path | None, target: str = "gender=female:0.95,male:0.05", **changes: Any) -> AuditConfig:
    effort = Effort(images_per_prompt=changes.pop("most", 200), until_decided=True, seed=1)
    question = Question(concepts=changes.pop("concepts", ("gender",)), targets=(target,) if target else (), limit=3)
    return AuditConfig(source="a/model", question=question, effort=effort, out=out, **changes)


def test_what_is_far_off_is_known_after_few_images(tmp_path: Path, toy: Install) -> None:
    toy()  # shows either class in half of the images
    done = audit(config(tmp_path / "run"))
    shares = [one for one in done.estimates if one.class_name == "female"]
    assert [one.decision for one in shares] == ["biased"] * 3
    assert all(one.n < 60 and one.n % ROUND == 0 for one in shares)
    assert done.result["costs"][0]["images"] == sum(one.n for one in shares)
    assert done.result["stopped"] == "until decided"


def test_only_shares_with_confidence_sequences_are_stated(tmp_path: Path, toy: Install) -> None:
    toy()
    done = audit(config(tmp_path / "run"))
    assert {one.metric for one in done.estimates} == {"share"}
    for one in done.estimates:
        assert one.prompt is not None
        assert (one.low, one.high) == confidence_sequence(round((one.value or 0) * one.n), one.n)


def test_what_is_near_takes_all_that_it_may(tmp_path: Path, toy: Install) -> None:
    toy()
    done = audit(config(tmp_path / "run", "gender=female:0.42,male:0.58", most=24))
    shares = [one for one in done.estimates if one.class_name == "female"]
    assert [(one.n, one.decision) for one in shares] == [(24, "undecided")] * 3


def test_fair_is_found_where_there_are_images_for_it(tmp_path: Path, toy: Install) -> None:
    toy()
    done = audit(config(tmp_path / "run", "", most=900))
    decisions = [one.decision for one in done.estimates if one.class_name == "female"]
    assert decisions == ["fair"] * 3
    assert all(150 < one.n < 900 for one in done.estimates)


def test_a_precision_stops_each_prompt_where_its_sequences_are_that_narrow(tmp_path: Path, toy: Install) -> None:
    toy()  # shows either class in half of the images, and something unsafe in half of the others
    question = Question(concepts=("gender", "unsafe"), limit=3)
    effort = Effort(precision=0.15, seed=1)
    done = audit(AuditConfig(source="a/model", question=question, effort=effort, out=tmp_path / "run"))
    assert done.result["stopped"] == "at a precision of 0.15"
    rows = [one for one in done.estimates if one.prompt is not None]
    assert {one.metric for one in rows} == {"share", "unsafe_rate"}
    for one in rows:
        k = round((one.value or 0) * one.n)
        assert (one.low, one.high) == confidence_sequence(k, one.n)
        assert (one.high or 1) - (one.low or 0) <= 0.3
        # a look earlier it was not: no image is made for nothing
        low, high = confidence_sequence(k * (one.n - ROUND) // one.n, one.n - ROUND)
        assert high - low > 0.29
    assert done.result["costs"][0]["images"] < 6 * Effort(precision=0.15).images


def test_over_prompts_a_precision_states_what_holds_for_all_prompts_at_once(tmp_path: Path, toy: Install) -> None:
    toy()
    question = Question(concepts=("gender", "unsafe"), limit=2)
    effort = Effort(precision=0.2, seed=1)
    done = audit(AuditConfig(source="a/model", question=question, effort=effort, out=tmp_path / "run"))
    over = {(one.metric, one.class_name): one for one in done.estimates if one.prompt is None}
    assert set(over) == {("share", "female"), ("share", "male"), ("deviation", None), ("unsafe_rate", None)}
    rows = [one for one in done.estimates if one.metric == "share" and one.class_name == "female" and one.prompt]
    # each of two prompts has half of the error: 1 - .05 / 2
    bounds = [confidence_sequence(round((one.value or 0) * one.n), one.n, 0.975) for one in rows]
    share, deviation = over["share", "female"], over["deviation", None]
    assert (share.low, share.high) == pytest.approx(tuple(sum(some) / 2 for some in zip(*bounds, strict=True)))
    # the miss of either class is the same, so the deviation is at most the root of the mean square of the larger miss
    worst = [max(0.5 - low, high - 0.5) for low, high in bounds]
    assert deviation.high == pytest.approx((sum(one**2 for one in worst) / 2) ** 0.5)
    assert deviation.low == 0.0  # either prompt may be even


def test_prompts_asked_together_are_held_to_a_false_discovery_rate(tmp_path: Path, toy: Install) -> None:
    toy()
    done = audit(config(tmp_path / "run"))
    (found,) = done.result["discoveries"]
    assert (found["concept"], found["of"], found["level"]) == ("gender", 3, 0.05)
    rows = {one.prompt: one for one in done.estimates if one.class_name == "female"}
    counts = {row: round((one.value or 0) * one.n) for row, one in rows.items()}
    evidence = {row: bias_evidence([k, rows[row].n - k], [0.95, 0.05], 0.1) for row, k in counts.items()}
    # three hypotheses: all are rejected where the least e-value is at least 3 / (.05 x 3) = 20
    assert min(evidence.values()) >= 20
    assert found["prompts"] == list(rows)
    assert "all 3 prompts asked at once: 3 are" in write_report(done.run).read_text("utf-8")


def test_the_same_call_again_makes_nothing_and_an_interrupted_one_goes_on(tmp_path: Path, toy: Install) -> None:
    toy()
    first = audit(config(tmp_path / "run"))
    host = toy()
    assert audit(config(tmp_path / "run")).result["estimates"] == first.result["estimates"]
    assert host.evaluations == 0
    ledgers.forget_images(tmp_path / "run", keep=30)
    again = audit(config(tmp_path / "run"))
    assert again.result["estimates"] == first.result["estimates"]


def test_the_report_is_written_and_says_that_it_stopped(tmp_path: Path, toy: Install) -> None:
    toy()
    done = audit(config(tmp_path / "run"))
    page = write_report(done.run).read_text("utf-8")
    assert "Every prompt stopped as soon as its verdict was reached" in page
    assert "confidence sequence" in page
    assert json.loads((done.run / "result.json").read_text())["stopped"] == "until decided"


def test_what_cannot_be_decided_is_refused(tmp_path: Path, toy: Install) -> None:
    toy()
    with pytest.raises(InputError, match="unsafe has no target that it could be fair to"):
        audit(config(tmp_path / "run", "", concepts=("unsafe",)))
    with pytest.raises(InputError, match="both say when to stop"):
        Effort(until_decided=True, precision=0.1)
    assert not (tmp_path / "run").exists()


def test_quotas_are_refused() -> None:
    def arm(mode: Any) -> Arm:
        return Arm(name="x", assigned={"gender": Assigned(mode, lambda row, index: "female")})

    check_allocation(arm("iid"))
    with pytest.raises(InputError, match=r"x gives gender by quotas.*allocation=iid"):
        check_allocation(arm("stratified"))
