"""Run directories that cannot be read are refused in one line; torn ends of killed runs are not."""

from __future__ import annotations

import json
from pathlib import Path

import ledgers
import pytest
from report_run import build_run, small_asks

from evenhand.errors import RunDirectoryError
from evenhand.report import write_report
from evenhand.report.data import read_run
from evenhand.store import LEDGER


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run", small_asks()[:1], images=2)


def refused(run: Path) -> str:
    with pytest.raises(RunDirectoryError) as caught:
        write_report(run)
    message = str(caught.value)
    assert "\n" not in message
    assert not (run / "report.html").exists()
    return message


def test_what_is_no_directory(tmp_path: Path) -> None:
    assert "expected a run directory" in refused(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["run.json", "result.json"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    assert name in refused(run)


@pytest.mark.parametrize("name", ["run.json", "result.json"])
@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_a_malformed_file_is_named(run: Path, name: str, text: str) -> None:
    (run / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    assert name in refused(run)


def test_another_schema_is_named(run: Path) -> None:
    result = json.loads((run / "result.json").read_text()) | {"schema": "evenhand.result/9"}
    (run / "result.json").write_text(json.dumps(result))
    assert "evenhand.result/9" in refused(run)


@pytest.mark.parametrize(
    "change", [{"estimates": [{"metric": "share"}]}, {"estimates": None}, {"concepts": [{"name": "x"}]}, {"arms": 3}]
)
def test_a_malformed_result_is_refused(run: Path, change: dict[str, object]) -> None:
    result = json.loads((run / "result.json").read_text()) | change
    (run / "result.json").write_text(json.dumps(result))
    assert "result.json" in refused(run)


def test_a_run_of_an_earlier_version_is_refused(run: Path) -> None:
    facts = json.loads((run / "run.json").read_text()) | {"schema": "evenhand.run/1"}
    (run / "run.json").write_text(json.dumps(facts))
    assert "written by an earlier version (evenhand.run/1, expected evenhand.run/2)" in refused(run)


def test_a_ledger_that_is_missing_or_is_none_is_named(run: Path) -> None:
    (run / LEDGER).write_bytes(b"no database at all, and longer than the head of one" * 100)
    assert "ledger.sqlite is no ledger that can be read" in refused(run)
    (run / LEDGER).unlink()
    assert "ledger.sqlite: not found" in refused(run)


def test_a_malformed_verdict_is_refused(run: Path) -> None:
    ledgers.change(run, """UPDATE verdicts SET verdicts = '[{"concept": "gender", "colour": 1}]'""")
    assert "malformed verdict" in refused(run)


def test_the_verdicts_of_the_latest_judge_hold(run: Path) -> None:
    before = read_run(run).pictures
    ledgers.change(run, "INSERT INTO verdicts SELECT image, 'later', replace(verdicts, 'female', 'male') FROM verdicts")
    after = read_run(run).pictures
    assert len(after) == len(before)
    assert {one.label("gender") for one in before} == {"female", "male"}
    assert {one.label("gender") for one in after} == {"male"}


def test_a_folder_that_cannot_be_written_can_be_read(run: Path) -> None:
    before = read_run(run).pictures
    run.chmod(0o555)
    try:
        assert read_run(run).pictures == before
    finally:
        run.chmod(0o755)
