"""`--engine ray` on real models: the bytes that one process makes, from the command line to the ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ledgers
import pytest
import torch
from typer.testing import CliRunner

from evenhand.cli import app

STACKED = "sega:text=hat,warmup=0 + negative-prompt:text=hat"


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_comparison_on_workers_is_that_of_one_process(
    cluster: Any, one_thread: None, model: Path, judge: Path, tmp_path: Path
) -> None:
    command = (
        "compare", model, "--concept", "gender", "--judge", judge, "--images-per-prompt", 6, "--dtype", "float32",
        "--limit", 2, "--batch-size", 4, "--with", STACKED, "--json",
    )  # fmt: skip
    there = run(*command, "--engine", "ray", "--out", tmp_path / "ray")
    here = run(*command, "--out", tmp_path / "local")
    assert ledgers.lines(tmp_path / "ray") == ledgers.lines(tmp_path / "local")  # SHA-256 of every image among them
    assert len(ledgers.lines(tmp_path / "ray")) == 3 * 2 * 6
    assert ledgers.judged(tmp_path / "ray") == ledgers.judged(tmp_path / "local")
    for name in ("estimates", "arms", "settings", "quarantined"):
        assert there[name] == here[name]
    assert [one["denoiser_evaluations"] for one in there["costs"]] == [
        one["denoiser_evaluations"] for one in here["costs"]
    ]


@pytest.mark.parametrize("source", ["https://images.example/v1", "folder"])
def test_images_that_no_worker_makes_are_refused(tmp_path: Path, source: str) -> None:
    if source == "folder":
        (tmp_path / "manifest.csv").write_text("file,prompt\n")
        source = str(tmp_path)
    done = CliRunner().invoke(app, ["audit", source, "--concept", "gender", "--engine", "ray"])
    assert done.exit_code == 2
    assert "makes no images on workers" in done.output


def test_an_unknown_engine_is_refused() -> None:
    done = CliRunner().invoke(app, ["audit", "skewville", "--concept", "gender", "--engine", "spark"])
    assert (done.exit_code, done.output) == (2, "evenhand: --engine spark: expected local or ray\n")


@pytest.mark.slow
def test_skewville_on_a_cluster_of_its_own_at_equal_threads_and_at_others(tmp_path: Path) -> None:
    def audit(out: str, engine: str, batch: int, threads: int) -> list[dict[str, Any]]:
        command = [
            *(sys.executable, "-m", "evenhand", "audit", "skewville", "--concept", "gender", "--limit", "5"),
            *("--images-per-prompt", "40", "--steps", "8", "--batch-size", str(batch), "--engine", engine, "--json"),
            *("--out", str(tmp_path / out)),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["quarantined"] == []
        return ledgers.lines(tmp_path / out)

    there = audit("ray", "ray", 16, 1)
    assert there == audit("local", "local", 16, 1)
    other = audit("other", "local", 10, 2)
    seen = [ledgers.judged(tmp_path / name) for name in ("ray", "other")]
    labels = [
        [some[line["key"]][0]["label"] for line in lines] for some, lines in zip(seen, (there, other), strict=True)
    ]
    same = sum(one == another for one, another in zip(*labels, strict=True))
    assert same >= 0.995 * len(there)
