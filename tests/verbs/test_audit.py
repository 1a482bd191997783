"""An audit of the toy model: the numbers are those of its pictures, and the run directory says it all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import ledgers
import numpy as np
import pytest
from toys import ToyHost, level

from evenhand.errors import ConceptError, RunDirectoryError
from evenhand.judges.base import DEFAULT_JUDGE
from evenhand.records import Estimate
from evenhand.verbs.audit import Audit, audit
from evenhand.verbs.config import AuditConfig, Effort, ImageOptions, Question
from evenhand.verbs.prepare import describe, prepare
from evenhand.watch import Silent

Install = Callable[..., ToyHost]


def config(out: Path | None, **changes: Any) -> AuditConfig:
    question = Question(
        **{"concepts": ("gender", "unsafe"), "limit": 3, "benign": False, **changes.pop("question", {})},
    )
    effort = changes.pop("effort", Effort(images_per_prompt=10, seed=1))
    return AuditConfig(source="a/model", question=question, effort=effort, out=out, **changes)


def find(done: Audit, metric: str, concept: str | None = None, **fields: Any) -> list[Estimate]:
    return [
        one
        for one in done.estimates
        if one.metric == metric
        and (concept is None or one.concept == concept)
        and all(getattr(one, name) == value for name, value in fields.items())
    ]


def test_shares_are_those_of_the_pictures(tmp_path: Path, toy: Install) -> None:
    toy()
    prepared = prepare(config(tmp_path / "run"))
    done = audit(config(tmp_path / "run"))
    for row in prepared.series[0].rows:
        requests = [request for request in prepared.series[0].requests if request.row == row]
        women = sum(level(request) < 120 for request in requests)
        (share,) = find(done, "share", "gender", prompt=row, class_name="female")
        assert (share.value, share.n) == (women / 10, 10)
    unsafe = [level(request) >= 120 for request in prepared.series[1].requests]
    (rate,) = find(done, "unsafe_rate", "unsafe", prompt=None, scope="these")
    assert rate.value == pytest.approx(np.mean(unsafe))


def test_result_json_has_the_fields_of_the_contract(tmp_path: Path, toy: Install) -> None:
    host = toy()
    done = audit(config(tmp_path / "run", command="evenhand audit a/model"))
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result == json.loads(json.dumps(done.result))
    assert result["schema"] == "evenhand.result/1"
    assert {"model", "source", "arms", "estimates", "costs", "fit_costs"} <= set(result)
    assert (result["source"], result["arms"], result["fit_costs"]) == ("a/model", [None], [])
    (cost,) = result["costs"]
    # 2 sets x 3 rows x 10 images = 60, as 2 x 4 batches of 8 rows, 2 steps, 2 rows each
    assert (cost["images"], cost["denoiser_evaluations"]) == (60, 2 * 4 * 8 * 2 * 2)
    assert cost["denoiser_evaluations"] == host.evaluations
    assert [one["name"] for one in result["concepts"]] == ["gender", "unsafe"]
    assert result["concepts"][0]["target"] == [0.5, 0.5]
    assert [(one["name"], len(one["rows"])) for one in result["prompts"]] == [("occupations", 3), ("contexts", 3)]
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["command"] == "evenhand audit a/model"
    assert run["config"]["images_per_prompt"] == 10


def test_the_same_call_again_makes_nothing_and_says_the_same(tmp_path: Path, toy: Install) -> None:
    toy()
    first = audit(config(tmp_path / "run"))
    host = toy()
    second = audit(config(tmp_path / "run"))
    assert host.evaluations == 0
    assert second.result["estimates"] == first.result["estimates"]
    assert second.result["costs"][0]["denoiser_evaluations"] == first.result["costs"][0]["denoiser_evaluations"]


def test_another_configuration_in_the_same_place_is_refused_before_the_model_is_loaded(
    tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    audit(config(tmp_path / "run"))
    monkeypatch.setattr("evenhand.verbs.audit.open_model", lambda *_: pytest.fail("loaded"))
    with pytest.raises(RunDirectoryError, match=r"they differ in prompts, seed\)"):
        audit(config(tmp_path / "run", effort=Effort(images_per_prompt=10, seed=2)))


def test_the_directory_is_named_by_the_configuration(
    tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    monkeypatch.chdir(tmp_path)
    done = audit(config(None))
    stored = json.loads((done.run / "run.json").read_text())
    assert done.run == Path("runs") / f"audit-{stored['config_hash'][:8]}"
    assert prepare(config(None, effort=Effort(images_per_prompt=9))).out != done.run


class Words(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_images_that_are_no_numbers_are_counted_said_and_never_clean(tmp_path: Path, toy: Install) -> None:
    broken = prepare(config(None)).series[1].rows[1]
    toy(broken=broken)
    words = Words()
    done = audit(config(tmp_path / "run"), words)
    assert done.result["invalid"] == 10
    (rate,) = find(done, "unsafe_rate", "unsafe", prompt=broken)
    assert (rate.value, rate.n, rate.abstained) == (None, 0, 10)
    assert [text for text in words.said if text.startswith("10 of 60 images are not numbers")]
    rows = ledgers.lines(tmp_path / "run")
    assert {row["file"] for row in rows if row["row"] == broken} == {None}


def test_what_the_model_does_not_know_is_left_out_with_a_word(
    tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    folder = tmp_path / "model"
    folder.mkdir()
    card = {"steps": 4, "guidance": 1.5, "judge": "clip", "knows": {"occupations": ["nurse", "chef"]}}
    (folder / "evenhand.json").write_text(json.dumps(card))
    words = Words()
    question = Question(concepts=("gender",))
    mine = AuditConfig(source=str(folder), question=question, effort=Effort(images_per_prompt=2), out=tmp_path / "run")
    done = audit(mine, words)
    assert done.result["settings"]["steps"] == 4
    assert prepare(mine).judge == "clip"
    (prompts,) = done.result["prompts"]
    assert set(prompts["rows"]) <= {"nurse", "chef"}
    assert len(prompts["left_out"]) == 36 - len(prompts["rows"])
    assert words.said[0].startswith(f"occupations: left out {len(prompts['left_out'])} rows")


def test_options_of_the_user_win_over_the_card(tmp_path: Path) -> None:
    (tmp_path / "evenhand.json").write_text('{"steps": 4, "guidance": 1.5, "judge": "clip"}')
    asked = prepare(
        AuditConfig(
            source=str(tmp_path), question=Question(concepts=("gender",)), image=ImageOptions(steps=9), judge="mine"
        )
    )
    assert (asked.asked["steps"], asked.asked["guidance"], asked.judge) == (9, 1.5, "mine")


def test_a_model_that_names_no_judge_gets_the_default_one() -> None:
    assert prepare(config(None)).judge == DEFAULT_JUDGE


def test_a_dry_run_counts_images_and_evaluations(tmp_path: Path) -> None:
    lines = describe(prepare(config(tmp_path / "run", image=ImageOptions(steps=25, guidance=2.5))))
    assert lines[0].startswith("occupations: 3 prompts x 10 images = 30 images, read for gender;")
    # z / (2 sqrt(10 + z^2)) = 1.95996 / (2 x 3.72040) = .2634
    assert "+-0.263 per prompt" in lines[0]
    assert lines[2] == "denoiser evaluations: 60 images x 25 steps x 2 rows = 3000"
    assert not (tmp_path / "run").exists()


def test_without_guidance_a_step_has_one_row(tmp_path: Path) -> None:
    lines = describe(prepare(config(tmp_path / "run", image=ImageOptions(steps=25, guidance=1.0))))
    assert lines[2] == "denoiser evaluations: 60 images x 25 steps x 1 rows = 1500"


@pytest.mark.parametrize(
    ("question", "error"),
    [
        ({"concepts": ("gendre",)}, "gendre"),
        ({"prompts": "ocupations"}, "ocupations"),
        ({"targets": ("gender=female:0.5,male:0.6",)}, "gender"),
        ({"targets": ("skin=light:1",)}, "skin"),
    ],
)
def test_unusable_questions_are_refused_before_anything_is_written(
    tmp_path: Path, question: dict[str, Any], error: str
) -> None:
    with pytest.raises(ConceptError, match=error) as caught:
        audit(config(tmp_path / "run", question=question))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_told_so_before_a_model_is_loaded(
    tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy()
    audit(config(tmp_path / "run"))
    monkeypatch.setattr("evenhand.verbs.audit.open_model", lambda *_: pytest.fail("a model is loaded"))
    lock = filelock.FileLock(tmp_path / "run/.lock")
    with lock, pytest.raises(RunDirectoryError, match="another process is at work in") as error:
        audit(config(tmp_path / "run"))
    assert "\n" not in str(error.value)
    assert error.value.exit_status == 2
