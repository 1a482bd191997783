"""`evenhand compare` on a real pipeline of diffusers and a real CLIP, both random and tiny."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import ledgers
import pytest
from typer.testing import CliRunner, Result

from evenhand.cli import app
from evenhand.errors import DeclinedError
from evenhand.verbs.compare import compare
from evenhand.verbs.config import AuditConfig, Effort, Question
from evenhand.verbs.fits import Fits

OFF = "safe-guidance:text=hat,strength=0"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def of(result: Any, arm: str | None, metric: str) -> list[Any]:
    return [one for one in result["estimates"] if one["intervention"] == arm and one["metric"] == metric]


@pytest.fixture(scope="module")
def compared(model: Path, judge: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("runs") / "compare"
    done = run(
        "compare", model, "--concept", "gender", "--judge", judge, "--images-per-prompt", 6, "--dtype", "float32",
        "--with", OFF, "--with", "sega:text=hat,warmup=0 + negative-prompt:text=hat", "--out", out, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), out


STACKED = "sega:text=hat,warmup=0 + negative-prompt:text=hat"


def test_the_baseline_that_costs_nothing_takes_part(compared: Any) -> None:
    result, _ = compared
    assert result["arms"] == [None, OFF, STACKED, "prompt-mix:concept=gender"]
    assert result["verb"] == "compare"
    assert result["declined"] == {}


def test_an_arm_that_is_off_changes_nothing_at_all(compared: Any) -> None:
    result, _ = compared
    for metric in ("change:share", "change:deviation", "change:recognised", "drift", "cmmd"):
        found = of(result, OFF, metric)
        assert found, metric
        assert all(one["value"] in (None, pytest.approx(0, abs=1e-9)) for one in found), metric
    assert all(one["value"] == pytest.approx(1) for one in of(result, OFF, "vendi"))
    assert any(one["value"] > 0 for one in of(result, STACKED, "drift"))


def test_every_arm_has_its_own_cost(compared: Any) -> None:
    result, _ = compared
    spent = {one["intervention"]: one["denoiser_evaluations"] for one in result["costs"]}
    # 18 images x 3 steps x 2 rows; sega computes one more row for each image, in calls of 8 rows: 24 a step
    assert spent[None] == spent[OFF] == spent["prompt-mix:concept=gender"]
    assert (spent[None], spent[STACKED]) == (108, 108 + 3 * 24)


def test_assigned_classes_are_reported_as_such(compared: Any) -> None:
    result, _ = compared
    assert {one["allocation"] for one in of(result, "prompt-mix:concept=gender", "share")} == {"stratified"}
    assert {one["allocation"] for one in of(result, None, "share")} == {"iid"}
    assert {one["class"] for one in of(result, "prompt-mix:concept=gender", "success")} == {"female", "male"}
    assert not of(result, None, "success")


def test_the_recommendation_follows_from_printed_rules(compared: Any) -> None:
    result, out = compared
    (advice,) = result["recommendations"]
    assert advice["concept"] == "gender"
    assert advice["text"].endswith(".")
    page = (out / "report.html").read_text()
    assert "What each arm changed" in page
    assert "Before and after" in page
    assert all(rule.split(" (")[0][:40] in page for rule in result["rules"])


def test_the_same_command_makes_nothing_twice(compared: Any, model: Path, judge: Path) -> None:
    result, out = compared
    committed = ledgers.lines(out)
    again = run(
        "compare", model, "--concept", "gender", "--judge", judge, "--images-per-prompt", 6, "--dtype", "float32",
        "--with", OFF, "--with", STACKED, "--out", out, "--json",
    )  # fmt: skip
    assert json.loads(again.stdout)["estimates"] == result["estimates"]
    assert ledgers.lines(out) == committed


def test_an_arm_that_declines_is_marked_and_the_rest_runs(
    model: Path, judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decline(self: Fits, plan: Any) -> Any:
        raise DeclinedError("no handle here")

    monkeypatch.setattr(Fits, "obtain", decline)
    config = AuditConfig(
        source=str(model),
        question=Question(concepts=("gender",), limit=2),
        effort=Effort(images_per_prompt=4),
        judge=str(judge),
        interventions=("concept-vector:concept=gender",),
        out=tmp_path / "run",
    )
    result = compare(config).result
    assert result["declined"] == {"concept-vector:concept=gender": "no handle here"}
    assert result["arms"] == [None, "prompt-mix:concept=gender"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--with", "nosuch"), "there is no method 'nosuch'"),
        (("--with", "sega + "), "expected a SPEC on both sides of the plus"),
        (("--with", "./nowhere"), "no such folder"),
    ],
)
def test_unusable_arms_end_with_one_line(model: Path, judge: Path, arguments: tuple[str, ...], said: str) -> None:
    done = run("compare", model, "--concept", "gender", "--judge", judge, *arguments)
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


def test_a_dry_run_names_the_arms_and_writes_nothing(model: Path, judge: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = run("compare", model, "--concept", "gender", "--judge", judge, "--dry-run", "--out", out, "--with", OFF)
    (images,) = {int(one) for one in re.findall(r"denoiser evaluations: (\d+) images", done.output)}
    assert f"under 3 arms, {3 * images} in all, and what they add: plain, {OFF}, prompt-mix:" in done.output
    assert not out.exists()
