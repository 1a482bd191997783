"""What other programs read of a run: model card, eval results, JUnit; and the command that writes them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from report_run import build_run, small_asks
from toys import ToyHost, install_toy
from typer.testing import CliRunner

from evenhand.cli import app
from evenhand.errors import InputError
from evenhand.report.data import RunView, read_run
from evenhand.report.exports import eval_results, junit, model_card, parse_thresholds
from evenhand.verbs.thresholds import outcomes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run", small_asks(), images=40)


@pytest.fixture
def view(path: Path) -> RunView:
    return read_run(path)


def test_a_card_says_every_headline_figure_with_interval_and_n(view: RunView) -> None:
    text = model_card(view)
    assert text.startswith("## Bias and safety\n")
    assert "\u00a0" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    figures = [
        one for one in view.reading.estimates if one.prompt is None and one.metric in ("deviation", "unsafe_rate")
    ]
    assert len(figures) == 3
    for one in figures:
        (row,) = [
            row for row in rows if ("deviation from" in row or "unsafe rate" in row) and f", {one.concept}" in row
        ]
        assert row.endswith(f"| {one.n:,} |")
        assert " to " in row
    assert "Classes are what a judge perceives, never who someone is." in text
    assert "judge clip" in text


def test_eval_results_are_entries_of_the_hub(view: RunView) -> None:
    text = eval_results(view, dataset="me/fairness", source_url="https://example.org/report")
    entries = yaml.safe_load(text)
    (deviation,) = [one for one in entries if one["dataset"]["task_id"] == "gender_deviation"]
    (found,) = [one for one in view.reading.estimates if (one.metric, one.concept) == ("deviation", "gender")]
    assert deviation["value"] == round(found.value or 0, 6)
    assert deviation["dataset"]["id"] == "me/fairness"
    assert deviation["source"] == {"url": "https://example.org/report", "name": "Evenhand"}
    assert deviation["date"] == "2026-11-20"
    assert f"95 % interval {found.low:.4f} to {found.high:.4f}, n = {found.n}" in deviation["notes"]
    hub = pytest.importorskip("huggingface_hub")
    if "parse_eval_result_entries" in dir(hub):  # as the Hub's own library reads them
        parsed = hub.parse_eval_result_entries(entries)
        assert [one.value for one in parsed] == [one["value"] for one in entries]


@pytest.mark.parametrize("dataset", [None, "", "fairness", "a/b/c"])
def test_eval_results_need_a_benchmark(view: RunView, dataset: str | None) -> None:
    with pytest.raises(InputError, match="give --dataset NAME/ID"):
        eval_results(view, dataset=dataset)


def test_conditions_become_test_cases(view: RunView) -> None:
    thresholds = parse_thresholds(view, ["deviation.gender<=0.9", "deviation.skin.high<=0.001"])
    root = ElementTree.fromstring(junit(view, outcomes(thresholds, view.reading.estimates)))
    assert (root.attrib["tests"], root.attrib["failures"]) == ("2", "1")
    cases = {case.attrib["name"]: case.find("failure") for case in root.iter("testcase")}
    assert cases["deviation.gender<=0.9"] is None
    failure = cases["deviation.skin.high<=0.001"]
    assert failure is not None
    assert "95 % interval" in failure.attrib["message"]


def test_without_conditions_verdicts_do(view: RunView) -> None:
    root = ElementTree.fromstring(junit(view, {}))
    for concept in ("gender", "skin"):
        decisions = view.reading.row_decisions(concept, None)
        cases = {one.attrib["name"]: one for one in root.iter("testcase") if one.attrib["classname"] == concept}
        assert set(cases) == set(decisions)
        for row, decision in decisions.items():
            assert (cases[row].find("failure") is not None) == (decision == "biased")
            assert (cases[row].find("skipped") is not None) == (decision == "undecided")


def test_names_of_a_run_are_text_in_xml(tmp_path: Path) -> None:
    view = read_run(build_run(tmp_path / "run", small_asks(), model='<a & "b">'))
    assert 'name="&lt;a &amp; &quot;b&quot;&gt;"' in junit(view, {})


def test_conditions_of_a_comparison_are_refused(tmp_path: Path) -> None:
    view = read_run(build_run(tmp_path / "run", small_asks(), verb="compare"))
    with pytest.raises(InputError, match="give the run of an audit"):
        parse_thresholds(view, ["deviation.gender<=1"])


def test_the_command_writes_everything_and_then_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make: Callable[..., ToyHost] = install_toy
    make(monkeypatch)
    run = tmp_path / "run"
    ask = ["audit", "a/model", "--concept", "gender", "--limit", "2", "--images-per-prompt", "20", "--out", str(run)]
    assert CliRunner().invoke(app, [*ask, "--quiet"]).exit_code == 0
    export = ["report", str(run), "--export", "card", "--export", "junit", "--export", "eval-results"]
    export += ["--export", "parquet"]
    refused = CliRunner().invoke(app, export)
    assert refused.exit_code == 2
    assert "--dataset NAME/ID" in refused.stderr
    conditions = ["--fail-on", "deviation.gender.high<=0.01", "--fail-on", "recognised.occupations>=0"]
    done = CliRunner().invoke(app, [*export, "--dataset", "me/it", *conditions])
    assert done.exit_code == 3
    assert done.stderr.startswith("evenhand: threshold failed: deviation.gender.high<=0.01 (it is ")
    names = ["report.html", "model-card.md", "eval_results.yaml", "junit.xml", "ledger.parquet"]
    assert done.stdout.split() == [str(run / name) for name in names]
    assert all((run / name).stat().st_size > 100 for name in names)
    assert (
        "--export pdf: expected card, eval-results, junit, parquet"
        in CliRunner().invoke(app, ["report", str(run), "--export", "pdf"]).stderr
    )


def test_the_audit_takes_ends_of_intervals_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_toy(monkeypatch)
    ask = ["audit", "a/model", "--concept", "gender", "--limit", "2", "--images-per-prompt", "20", "--quiet"]
    ask += ["--out", str(tmp_path / "run")]
    (value, high) = (0.0, 0.0)
    assert CliRunner().invoke(app, ask).exit_code == 0
    for one in json.loads((tmp_path / "run/result.json").read_text())["estimates"]:
        if (one["metric"], one["scope"]) == ("deviation", "these"):
            value, high = one["value"], one["high"]
    between = (value + high) / 2
    assert CliRunner().invoke(app, [*ask, "--fail-on", f"deviation.gender<={between}"]).exit_code == 0
    assert CliRunner().invoke(app, [*ask, "--fail-on", f"deviation.gender.high<={between}"]).exit_code == 3
