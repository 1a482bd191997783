"""The one loop: nothing committed is made twice, nothing judged is judged twice, broken images are never clean."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import ToySource, series_of_toys, toy_facts, toy_image

from evenhand.concepts.library import load_concept
from evenhand.errors import StorageError
from evenhand.records import Request, Settings, Verdict
from evenhand.store import RunDirectory
from evenhand.verbs.observe import observe
from evenhand.watch import Silent

GENDER = load_concept("gender")
SERIES = series_of_toys(GENDER)  # 2 rows x 5 images
CONFIG = {"source": "toy"}


def run_at(path: Path, source: ToySource) -> dict[Request, tuple[Verdict, ...]]:
    with RunDirectory.open(path / "run", config=CONFIG, facts=toy_facts()) as run:
        return observe(source, run, SERIES, Settings(), Silent())


def stop_at(number: int, error: BaseException) -> ToySource:
    """A source that breaks before image `number`."""

    def strike(request: Request) -> None:
        if request.seed == number:
            raise error

    return ToySource(on_image=strike)


def test_every_image_is_made_judged_and_stored_once(tmp_path: Path) -> None:
    source = ToySource()
    verdicts = run_at(tmp_path, source)
    assert source.made == list(SERIES.requests) == source.judged
    assert list(verdicts) == list(SERIES.requests)
    # what the judge says is what the picture shows
    for request, (verdict,) in verdicts.items():
        assert verdict.label == ("female" if toy_image(request)[0, 0, 0] < 120 else "male")


def test_a_second_call_does_nothing_and_says_the_same(tmp_path: Path) -> None:
    first = run_at(tmp_path, ToySource())
    again = ToySource()
    assert run_at(tmp_path, again) == first
    assert again.made == again.judged == []


@pytest.mark.parametrize("number", range(10))
def test_a_run_that_stops_anywhere_continues_there(tmp_path: Path, number: int) -> None:
    first = stop_at(number, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_at(tmp_path, first)
    second = ToySource()
    verdicts = run_at(tmp_path, second)
    assert first.made + second.made == list(SERIES.requests)
    assert Counter(first.judged + second.judged) == Counter(SERIES.requests)
    assert verdicts == run_at(tmp_path / "undisturbed", ToySource())


def test_a_resumed_run_computes_at_the_shape_of_an_undisturbed_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_at(tmp_path, stop_at(9, KeyboardInterrupt()))
    second = ToySource()
    run_at(tmp_path, second)
    assert (len(second.made), second.shapes) == (1, [4])


def test_a_run_smaller_than_a_batch_has_its_own_shape(tmp_path: Path) -> None:
    series = series_of_toys(GENDER, rows=("nurse",), images=3)
    source = ToySource()
    with RunDirectory.open(tmp_path / "run", config=CONFIG, facts=toy_facts(batch_size=4)) as run:
        observe(source, run, series, Settings(), Silent())
    assert source.shapes == [3]


def test_a_damaged_image_is_made_and_judged_again_alone(tmp_path: Path) -> None:
    run_at(tmp_path, ToySource())
    (tmp_path / "run/images/toys/chef/00002.png").write_bytes(b"damaged")
    again = ToySource()
    run_at(tmp_path, again)
    assert [(request.row, request.index) for request in again.made] == [("chef", 2)]
    assert again.judged == again.made


def test_another_judge_looks_at_the_stored_images(tmp_path: Path) -> None:
    run_at(tmp_path, ToySource())
    other = ToySource(judge_hash="another")
    run_at(tmp_path, other)
    assert other.made == []
    assert other.judged == list(SERIES.requests)


def test_images_that_are_no_numbers_are_abstained_on_and_not_made_again(tmp_path: Path) -> None:
    def broken(request: Request) -> np.ndarray | None:
        return None if request.row == "chef" else toy_image(request)

    verdicts = run_at(tmp_path, ToySource(picture=broken))
    assert all((verdict.label is None) == (request.row == "chef") for request, (verdict,) in verdicts.items())
    again = ToySource()
    assert run_at(tmp_path, again) == verdicts
    assert again.made == []


def test_a_full_disk_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, images = os.replace, []

    def filling(source: Any, target: Any) -> None:
        if str(target).endswith(".png"):
            images.append(target)
            if len(images) > 6:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", filling)
        with pytest.raises(StorageError, match="no space left"):
            run_at(tmp_path, ToySource())
    second = ToySource()
    run_at(tmp_path, second)
    assert second.made == list(SERIES.requests[6:])


def test_costs_are_booked_over_all_sessions(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_at(tmp_path, stop_at(8, KeyboardInterrupt()))
    run_at(tmp_path, ToySource())
    with RunDirectory.open(tmp_path / "run", config=CONFIG, facts=toy_facts()) as run:
        # batches of 4: two whole ones before the stop, and the rest of two padded to four
        assert run.costs()[0] == 4 + 4 + 4


class Notes(Silent):
    def __init__(self) -> None:
        self.total, self.done = 0, 0

    def start(self, what: str, *, total: int, done: int) -> None:
        self.total, self.done = total, done

    def advance(self, count: int = 1) -> None:
        self.done += count


def test_the_watcher_sees_every_image(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_at(tmp_path, stop_at(3, KeyboardInterrupt()))
    notes = Notes()
    with RunDirectory.open(tmp_path / "run", config=CONFIG, facts=toy_facts()) as run:
        observe(ToySource(), run, SERIES, Settings(), notes)
    assert (notes.total, notes.done) == (10, 10)


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

series = series_of_toys(load_concept("gender"), images=200)
with RunDirectory.open(Path(sys.argv[1], "run"), config={"source": "toy"}, facts=toy_facts()) as run:
    observe(ToySource(on_image=note), run, series, Settings(), Silent())
"""


def test_killed_outright_and_run_again_no_committed_image_is_made_twice(tmp_path: Path) -> None:
    def start(pause: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), pause, *sys.path])

    ledger = tmp_path / "run" / "ledger.jsonl"
    process = start("0.005")
    deadline = time.monotonic() + 60
    while not (ledger.exists() and ledger.read_bytes().count(b"\n") >= 25) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    committed = ledger.read_bytes().count(b"\n")
    made_first = (tmp_path / "made.txt").read_text().split()
    assert 25 <= committed < 400
    assert start("0").wait() == 0
    made = (tmp_path / "made.txt").read_text().split()
    assert len(made_first) - committed in (0, 1)  # at most the one in hand was lost
    assert len(made) == 400 + len(made_first) - committed
    assert set(made[len(made_first) :]).isdisjoint(made_first[:committed])
