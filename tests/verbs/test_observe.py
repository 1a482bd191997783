"""The one loop: nothing committed is made twice, nothing judged is judged twice, broken images are never clean."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ledgers
import numpy as np
import pytest
from toys import ToySource, series_of_toys, toy_facts, toy_image

from evenhand.concepts.concept import Concept
from evenhand.concepts.library import load_concept
from evenhand.engine import Failed, Local
from evenhand.errors import EvenhandError, StorageError
from evenhand.records import UNMADE, Request, Settings, Verdict
from evenhand.store import Finished, RunDirectory, WorkUnit
from evenhand.verbs.observe import check_made, keys_of, observe
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
    damaged = next(one for one in ledgers.lines(tmp_path / "run") if (one["row"], one["index"]) == ("chef", 2))
    (tmp_path / "run" / damaged["file"]).write_bytes(b"damaged")
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
    assert second.made == list(SERIES.requests[4:])  # the batch in which it happened is made again, whole


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


class Failing:
    """An engine that sets every unit with a certain seed aside, and makes the others."""

    def __init__(self, *seeds: int) -> None:
        self.seeds = seeds

    def run(self, units: Sequence[WorkUnit], concepts: Sequence[Concept]) -> Iterator[Finished | Failed]:
        for unit in units:
            if any(request.seed in self.seeds for request in unit.requests):
                yield Failed(unit=unit, tries=3, error="OSError: no")
            else:
                yield from Local(ToySource()).run([unit], concepts)


def test_what_an_engine_sets_aside_is_abstained_on_and_said_at_the_end(tmp_path: Path) -> None:
    calm = run_at(tmp_path / "calm", ToySource())
    with RunDirectory.open(tmp_path / "run", config=CONFIG, facts=toy_facts()) as run:
        verdicts = observe(ToySource(), run, SERIES, Settings(), Silent(), engine=Failing(5))
        lost = [request for request, (verdict,) in verdicts.items() if verdict.reason == UNMADE]
        assert [request.seed for request in lost] == [4, 5, 6, 7]
        assert all(verdicts[request] == calm[request] for request in verdicts if request not in lost)
        names = list(keys_of(run.facts, SERIES, Settings(), None))
        assert [run.image(key) is None for key in names] == [k in range(4, 8) for k in range(10)]
        result = {"quarantined": run.quarantined}
    with pytest.raises(EvenhandError, match=r"^4 images could not be made \(OSError: no\)") as error:
        check_made(result)
    assert error.value.exit_status == 1
    check_made({"quarantined": []})
    # nothing of it is stored: the next session makes what is missing
    again = ToySource()
    assert run_at(tmp_path, again) == calm
    assert again.made == lost


def test_where_nothing_at_all_can_be_made_there_is_no_result(tmp_path: Path) -> None:
    with (
        RunDirectory.open(tmp_path / "run", config=CONFIG, facts=toy_facts()) as run,
        pytest.raises(EvenhandError, match="no image of toys could be made: OSError: no"),
    ):
        observe(ToySource(), run, SERIES, Settings(), Silent(), engine=Failing(0, 4, 8))
