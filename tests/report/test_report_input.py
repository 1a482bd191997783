"""Run directories that cannot be read are refused in one line; torn ends of killed runs are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_run import build_run, small_asks

from evenhand.errors import RunDirectoryError
from evenhand.report import write_report
from evenhand.report.data import read_run


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


def test_a_broken_line_inside_a_ledger_is_refused_with_its_number(run: Path) -> None:
    lines = (run / "ledger.jsonl").read_text().splitlines()
    lines[1] = lines[1][:20]
    (run / "ledger.jsonl").write_text("\n".join(lines) + "\n")
    assert "line 2" in refused(run)


def test_a_line_without_its_fields_is_refused(run: Path) -> None:
    with (run / "ledger.jsonl").open("a") as file:
        file.write('{"key": "x"}\n')
    assert "'set'" in refused(run)


def test_a_half_written_last_line_is_dropped(run: Path) -> None:
    before = read_run(run).pictures
    with (run / "ledger.jsonl").open("a") as file:
        file.write('{"key": "torn", "arm"')
    assert read_run(run).pictures == before


def test_an_image_that_was_made_again_or_judged_again_counts_once(run: Path) -> None:
    before = read_run(run).pictures
    for name in ("ledger.jsonl", "verdicts.jsonl"):
        first = (run / name).read_text().splitlines()[0]
        with (run / name).open("a") as file:
            file.write(first.replace("female", "male") + "\n")
    after = read_run(run).pictures
    assert len(after) == len(before)
    assert after[0].label("gender") == "male"
