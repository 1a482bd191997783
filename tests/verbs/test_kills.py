"""Killed outright at any moment: nothing is torn, nothing committed is made again, the end is that of a calm run."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ledgers
import pytest

from evenhand.store import Ledger

BATCH = 4
PROGRAM = """
import sys, time
sys.path[:0] = sys.argv[3:]
from pathlib import Path
from toys import ToySource, series_of_toys, toy_facts
from evenhand.concepts.library import load_concept
from evenhand.records import Settings
from evenhand.store import RunDirectory
from evenhand.verbs.observe import observe
from evenhand.watch import Silent

def note(request):
    time.sleep(float(sys.argv[2]))
    with open(sys.argv[1] + "/made.txt", "a") as file:
        file.write(f"{request.seed}\\n")

series = series_of_toys(load_concept("gender"), images=IMAGES)
with RunDirectory.open(Path(sys.argv[1], "run"), config={"source": "toy"}, facts=toy_facts()) as run:
    observe(ToySource(on_image=note), run, series, Settings(), Silent())
"""


def start(folder: Path, images: int, pause: float) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    program = PROGRAM.replace("IMAGES", str(images // 2))
    return subprocess.Popen([sys.executable, "-c", program, str(folder), str(pause), *sys.path])


def made(folder: Path) -> list[int]:
    """The seeds of all images that were made, in order, over all sessions."""
    file = folder / "made.txt"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def check_whole(run: Path) -> list[dict[str, Any]]:
    """Every image is what its name says, every row has its image and its verdict; returns the rows."""
    files = {path.stem: path for path in run.rglob("*.png")}
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == name for name, path in files.items())
    if not (run / "ledger.sqlite").exists():
        return []
    try:
        rows = ledgers.lines(run)
    except ValueError:  # killed before the tables were made, in one transaction
        return []
    assert {row["sha256"] for row in rows} <= files.keys()
    assert ledgers.judged(run).keys() == {row["key"] for row in rows}
    return rows


def disturbed(folder: Path, *, kills: int, images: int, rng: random.Random) -> None:
    """Runs that are killed, each at its own moment, and one that ends."""
    committed: list[int] = []
    for _ in range(kills):
        before = len(made(folder))
        process = start(folder, images, 0.001)
        deadline = time.monotonic() + 60
        while len(made(folder)) == before and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.25))
        process.kill()
        process.wait()
        now = [row["seed"] for row in check_whole(folder / "run")]
        session = made(folder)[before:]
        assert set(committed) <= set(now)
        assert set(session).isdisjoint(committed)
        assert len(session) - (len(now) - len(committed)) <= BATCH  # the batch in hand
        committed = now
    assert len(committed) < images  # else the last kills met nothing
    before = len(made(folder))
    assert start(folder, images, 0).wait() == 0
    assert set(made(folder)[before:]).isdisjoint(committed)
    assert len(made(folder)) <= images + kills * BATCH


def check_ends(folder: Path, tmp_path: Path, images: int) -> None:
    """The ledger is that of a run that nobody disturbed, and so is what it cost."""
    assert start(tmp_path / "calm", images, 0).wait() == 0
    assert check_whole(folder / "run") == check_whole(tmp_path / "calm/run")
    with Ledger(folder / "run") as ours, Ledger(tmp_path / "calm/run") as calm:
        assert ours.verdicts("toy") == calm.verdicts("toy")
        assert ours.costs()[0] == calm.costs()[0] == images
    assert not list(folder.rglob("*.tmp"))


def test_killed_three_times(tmp_path: Path) -> None:
    disturbed(tmp_path / "run", kills=3, images=600, rng=random.Random(1))
    check_ends(tmp_path / "run", tmp_path, 600)


@pytest.mark.slow
def test_killed_thirty_times(tmp_path: Path) -> None:
    disturbed(tmp_path / "run", kills=30, images=1600, rng=random.Random(30))
    check_ends(tmp_path / "run", tmp_path, 1600)
