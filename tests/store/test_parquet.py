"""The ledger as Parquet: what stands in the rows stands in the columns, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import ledgers
import pyarrow.parquet as parquet
import pytest
from toys import ToySource, series_of_toys, toy_facts, toy_image

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError, RunDirectoryError
from evenhand.records import Request, Sample, Settings
from evenhand.store import RunDirectory, export_parquet
from evenhand.verbs.observe import observe
from evenhand.watch import Silent


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Ten judged images, one of them not numbers, and one without a verdict."""
    picture = lambda request: None if request.seed == 3 else toy_image(request)  # noqa: E731
    with RunDirectory.open(tmp_path / "run", config={"seed": 5}, facts=toy_facts()) as run:
        observe(ToySource(picture=picture), run, series_of_toys(load_concept("gender")), Settings(), Silent())
        request = Request(row="cook", prompt="a cook", index=0, seed=2**62, guidance=7.5)
        run.commit("k", Sample(request=request, image=None, evidence={"refused": "no"}), prompt_set="others")
    return tmp_path / "run"


def test_every_image_is_a_row_with_what_was_perceived(run: Path) -> None:
    table = parquet.read_table(export_parquet(run, json.loads((run / "run.json").read_text())))
    rows, lines, judged = table.to_pylist(), ledgers.lines(run), ledgers.judged(run)
    assert len(rows) == len(lines) == 11
    for row, line in zip(rows, lines, strict=True):
        for name in ("key", "arm", "set", "row", "prompt", "index", "seed", "assigned", "file", "sha256", "valid"):
            assert row[name] == line[name]
        (verdict,) = judged.get(line["key"], [{"label": None, "reason": None}])
        assert (row["label:gender"], row["reason:gender"]) == (verdict["label"], verdict["reason"])
        assert row["judge"] == ("toy" if line["key"] in judged else None)
    assert rows[3]["reason:gender"] == "invalid image"
    assert (rows[-1]["seed"], rows[-1]["guidance"]) == (2**62, 7.5)
    assert json.loads(rows[-1]["evidence"]) == {"refused": "no"}
    assert json.loads(table.schema.metadata[b"evenhand"])["config"] == {"seed": 5}
    assert not list(run.glob(".ledger*"))


def test_without_pyarrow_or_ledger_it_is_refused_in_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RunDirectoryError, match=r"ledger.sqlite: not found"):
        export_parquet(run / "images", {})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"pip install 'evenhand\[train\]'"):
        export_parquet(run, {})
