"""Take away: the command and the Python lines are the configuration of the page, and the run holds its images."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import evenhand
from evenhand.cli import app
from evenhand.errors import InputError
from evenhand.metrics.sequences import confidence_sequence
from evenhand.studio.bench import Bench
from evenhand.studio.look import Look
from evenhand.studio.session import Session
from evenhand.studio.takeaway import command, config_of, python_lines, write_run
from evenhand.verbs.config import AuditConfig, ImageOptions, ModelOptions
from evenhand.verbs.prepare import prepare


def on_skewville(session: Session) -> None:
    """The same images, called those of Skewville, whose name the command line knows."""
    assert session.look is not None
    session.look = dataclasses.replace(
        session.look,
        source="skewville",
        prompt='it\'s "a" nurse, $HOME',
        targets=("gender=female:1/3,male:2/3",),
        seed=7,
        image=ImageOptions(steps=3, guidance=1.5, size=(64, 64), negative_prompt="a beard"),
        model=ModelOptions(device="cpu", dtype="float32"),
    )


def estimates_of(report: Path) -> Any:
    return json.loads((report.parent / "result.json").read_text())["estimates"]


def run_command(text: str) -> str:
    words = shlex.split(text)
    assert words[0] == "evenhand"
    done = CliRunner().invoke(app, [*words[1:], "--dry-run"])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_runs_and_makes_the_images_of_the_page(session: Session, bench: Bench) -> None:
    on_skewville(session)
    config = config_of(session, bench)
    said = run_command(command(config))
    assert "1 prompts x 12 images = 12 images, read for gender; intervals hold whenever one stops" in said
    # the folder is named by everything that decides the run: the command is the configuration, nothing less
    assert f"run directory: {prepare(config).out}" in said


def test_the_python_lines_are_the_same_configuration(
    session: Session, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_skewville(session)
    config = config_of(session, bench)
    asked: list[AuditConfig] = []

    class Done:
        run = Path("runs")

    def audit(given: AuditConfig) -> Any:
        asked.append(given)
        return Done

    monkeypatch.setattr(evenhand, "audit", audit, raising=False)
    exec(python_lines(config), {})
    assert asked == [config]


def test_a_comparison_is_reproduced_too(session: Session, bench: Bench) -> None:
    on_skewville(session)
    config = config_of(
        session, bench, specs=['prompt-mix:concept=gender + negative-prompt:text="a, b"'], any_time=False
    )
    said = run_command(command(config, "compare"))
    assert "plain, prompt-mix:concept=gender + negative-prompt" in said
    assert "from evenhand.verbs.compare import compare" in python_lines(config, "compare")


def test_the_run_holds_the_images_of_the_page_and_nothing_is_made_again(session: Session, bench: Bench) -> None:
    made = bench.model.host.evaluations
    report = write_run(session, bench)
    assert bench.model.host.evaluations == made
    result = json.loads((report.parent / "result.json").read_text())
    assert result["stopped"] == "when somebody who watched said so"
    assert result["costs"][0]["images"] == 12
    assert result["costs"][0]["denoiser_evaluations"] == session.plain.evaluations
    (female,) = [one for one in session.estimates()[0].classes if one.name == "female"]
    (stated,) = [
        one
        for one in result["estimates"]
        if one["metric"] == "share" and one["class"] == "female" and one["prompt"] == "a nurse"
    ]
    assert (stated["value"], stated["low"], stated["high"]) == pytest.approx((female.share, *female.interval))
    assert (stated["low"], stated["high"]) == pytest.approx(confidence_sequence(female.count, 12))
    assert "Somebody who watched" in report.read_text()


def test_a_report_that_is_asked_for_twice_is_the_same(session: Session, bench: Bench) -> None:
    first = write_run(session, bench)
    before = estimates_of(first)
    assert write_run(session, bench) == first
    assert estimates_of(first) == before


def test_disputes_leave_the_report_alone(session: Session, bench: Bench) -> None:
    before = estimates_of(write_run(session, bench))
    session.dispute(0)
    report = write_run(session, bench)
    assert estimates_of(report) == before
    head, *lines = (report.parent / "disputed.csv").read_text().splitlines()
    assert head == "image,prompt,seed,perceived:gender"
    assert len(lines) == len(session.disputed)


def test_without_an_image_there_is_nothing_to_take_away(look: Look, bench: Bench) -> None:
    session = Session()
    with pytest.raises(InputError, match="on the page Look first"):
        config_of(session, bench)
    session.begin(look)
    with pytest.raises(InputError, match="no image yet"):
        write_run(session, bench)


def test_the_studio_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["studio"])
    assert done.exit_code == 2
    assert "pip install 'evenhand[studio]'" in done.output


def test_what_cannot_be_used_is_refused_before_a_model_is_loaded() -> None:
    done = CliRunner().invoke(app, ["studio", "--size", "big"])
    assert done.exit_code == 2
    assert "--size big" in done.output
