"""A run directory: what is committed stays, what is torn or changed is made again, and nobody else gets in."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import ledgers
import numpy as np
import pytest
from toys import requests_of, toy_facts, toy_image

from evenhand.errors import RunDirectoryError, StorageError
from evenhand.records import Sample, Settings, Verdict, content_hash
from evenhand.store import (
    LEDGER,
    Finished,
    RunDirectory,
    WorkUnit,
    check_free,
    check_out,
    encode,
    image_keys,
    read_run,
    units_of,
)
from evenhand.store.images import ImageFiles

CONFIG = {"source": "toy", "seed": 0, "images_per_prompt": 3}
REQUESTS = requests_of(["nurse"], 3)


def opened(path: Path, config: dict[str, Any] = CONFIG) -> RunDirectory:
    return RunDirectory.open(path, config=config, facts=toy_facts())


def filled(path: Path) -> Path:
    """A run with three images k0, k1, k2 and their verdicts."""
    with opened(path) as run:
        for number, request in enumerate(REQUESTS):
            run.commit(f"k{number}", Sample(request=request, image=toy_image(request)), prompt_set="toys")
            run.commit_verdicts("toy", {f"k{number}": (Verdict(concept="gender", label="female"),)})
    return path


def unit_of(*keys: str) -> Finished:
    """A judged unit over the first requests."""
    requests = REQUESTS[: len(keys)]
    unit = WorkUnit(
        keys=keys, requests=requests, places=tuple(range(len(keys))), prompt_set="toys", arm=None, batch_size=4
    )
    images = tuple(encode(Sample(request=one, image=toy_image(one))) for one in requests)
    verdicts = tuple((Verdict(concept="gender", label="female"),) for _ in keys)
    return Finished(unit=unit, images=images, verdicts=verdicts, judge="toy", evaluations=12, seconds=1.5)


def harm(file: Path, damage: str) -> None:
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-7] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "run") as run:
        assert run.facts["schema"] == "evenhand.run/2"
    stored = read_run(tmp_path / "deep" / "run")
    assert stored is not None
    assert stored["config"] == CONFIG
    assert len(stored["config_hash"]) == 64
    assert stored["versions"]["python"].startswith("3.")
    assert {"verb", "command", "model", "judge", "batch_size", "dtype", "threads", "started"} <= set(stored)


def test_what_is_committed_is_there_on_reopening(tmp_path: Path) -> None:
    with opened(filled(tmp_path / "run")) as run:
        assert list(run.done()) == ["k0", "k1", "k2"]
        assert np.array_equal(run.image("k1"), toy_image(REQUESTS[1]))
        assert run.verdicts("toy")["k2"] == (Verdict(concept="gender", label="female"),)
        assert run.verdicts("another judge") == {}


def test_a_ledger_line_holds_what_the_contract_names(tmp_path: Path) -> None:
    line = ledgers.lines(filled(tmp_path / "run"))[1]
    assert set(line) == {
        *("key", "arm", "set", "row", "prompt", "index", "seed", "assigned", "file", "sha256", "valid"),
    }
    assert (line["set"], line["row"], line["index"], line["valid"]) == ("toys", "nurse", 1, True)


def test_an_image_is_named_by_its_content(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    for line in ledgers.lines(run):
        data = (run / line["file"]).read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        assert line["sha256"] == digest
        assert line["file"] == f"images/{digest[:2]}/{digest}.png"
    assert len(list((run / "images").rglob("*.*"))) == 3


def test_equal_images_are_one_file_and_two_rows(tmp_path: Path) -> None:
    sample = Sample(request=REQUESTS[0], image=toy_image(REQUESTS[0]))
    with opened(tmp_path / "run") as run:
        run.commit("a", sample, prompt_set="occupations")
        run.commit("b", sample, prompt_set="occupations-successful")
        run.commit("c", sample, prompt_set="occupations", arm="safe-guidance")
        assert len({line["file"] for line in run.done().values()}) == 1
        assert len(list((tmp_path / "run/images").rglob("*.png"))) == 1
        assert all(np.array_equal(run.image(key), toy_image(REQUESTS[0])) for key in "abc")


def test_the_ledger_is_in_wal_mode_and_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with opened(filled(tmp_path / "run")):
        database = sqlite3.connect(tmp_path / "run" / LEDGER)
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        database.close()
        assert len(ledgers.lines(tmp_path / "run")) == 3
    # closed, it is one file
    assert sorted(one.name for one in (tmp_path / "run").iterdir()) == [".lock", "images", "ledger.sqlite", "run.json"]


def test_a_unit_is_committed_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = unit_of("k0", "k1", "k2")
    twice = dataclasses.replace(done, unit=dataclasses.replace(done.unit, keys=("k0", "k1", "k0")))
    with opened(tmp_path / "run") as run:
        with pytest.raises(sqlite3.IntegrityError):
            run.commit_unit(twice)
        assert (run.done(), run.verdicts("toy"), run.costs()) == ({}, {}, (0, 0.0))
        run.commit_unit(done)
        assert list(run.done()) == list(run.verdicts("toy")) == ["k0", "k1", "k2"]
        assert run.costs() == (12, 1.5)


def test_rows_are_read_in_the_order_of_the_series_whoever_came_first(tmp_path: Path) -> None:
    whole = unit_of("k0", "k1", "k2")
    first, _, last = (
        dataclasses.replace(whole, unit=unit, images=whole.images[k : k + 1], verdicts=whole.verdicts[k : k + 1])
        for k, unit in enumerate(whole.unit.singles())
    )
    with opened(tmp_path / "run") as run:
        run.commit_unit(last)
        run.commit("x", Sample(request=REQUESTS[0], image=None), prompt_set="others")
        run.commit_unit(first)
        assert list(run.done()) == ["k0", "k2", "x"]


@pytest.mark.parametrize("damage", ["missing", "changed", "truncated"])
def test_a_damaged_image_is_dropped_with_its_verdict(tmp_path: Path, damage: str) -> None:
    run = filled(tmp_path / "run")
    harm(run / ledgers.lines(run)[1]["file"], damage)
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k2"]
        assert list(again.verdicts("toy")) == ["k0", "k2"]
        assert again.missing(["k0", "k1", "k2"]) == [1]


@pytest.mark.parametrize("damage", ["missing", "changed", "truncated"])
def test_an_image_that_is_damaged_later_is_seen_when_it_is_read(tmp_path: Path, damage: str) -> None:
    run = filled(tmp_path / "run")
    with opened(run) as again:
        harm(run / ledgers.lines(run)[1]["file"], damage)
        with pytest.raises(StorageError, match="missing or damaged; run the same command again"):
            again.image("k1")
        assert list(again.done()) == ["k0", "k2"]


def test_a_run_that_was_copied_stays_whole_and_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "copy"
    shutil.copytree(filled(tmp_path / "run"), run, copy_function=shutil.copyfile)  # other times of change
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k1", "k2"]
    monkeypatch.setattr(ImageFiles, "same", lambda *_: pytest.fail("a file is read that nobody touched"))
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k1", "k2"]


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    rest = (run / ledgers.lines(run)[0]["file"]).with_name(".abc.1.2.tmp")
    rest.write_bytes(b"half")
    with opened(run) as again:
        assert len(again.done()) == 3
    assert not rest.exists()


def test_an_image_that_is_no_number_is_committed_without_a_file(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        run.commit("k0", Sample(request=REQUESTS[0], image=None), prompt_set="toys")
    with opened(tmp_path / "run") as run:
        line = run.done()["k0"]
        assert (line["file"], line["sha256"], line["valid"]) == (None, None, False)
        assert run.image("k0") is None


def test_another_configuration_is_refused_and_the_keys_are_named(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    with pytest.raises(
        RunDirectoryError, match=r"another configuration \(.{8}, this one is .{8}; they differ in"
    ) as error:
        opened(run, {**CONFIG, "seed": 1, "images_per_prompt": 4})
    assert "differ in images_per_prompt, seed)" in str(error.value)
    assert "\n" not in str(error.value)


def test_another_model_of_the_same_name_is_refused(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    facts = {**toy_facts(), "model": {"hash": "other"}}
    with pytest.raises(RunDirectoryError, match="begun with another model"):
        RunDirectory.open(run, config=CONFIG, facts=facts)
    opened(run).__exit__(None, None, None)  # the lock was given back


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("important")
    with pytest.raises(RunDirectoryError, match="not empty and not a run directory"):
        check_out(tmp_path, CONFIG)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "something/1"}'])
def test_a_run_json_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunDirectoryError, match="choose another --out"):
        check_out(tmp_path, CONFIG)


@pytest.mark.parametrize("below", [False, True])
def test_a_file_is_no_directory(tmp_path: Path, below: bool) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RunDirectoryError, match="is a file, expected a directory"):
        check_out(file / "run" if below else file, CONFIG)


def test_a_directory_that_cannot_be_written_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # also for root, who may write everywhere
    with pytest.raises(RunDirectoryError, match="cannot be written"):
        opened(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_the_run_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sample = Sample(request=REQUESTS[0], image=toy_image(REQUESTS[0]))
    with opened(tmp_path / "run") as run:
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", full)
            with pytest.raises(StorageError, match=r"no space left on the disk .* run the same command again") as error:
                run.commit("k0", sample, prompt_set="toys")
        assert "\n" not in str(error.value)
        assert run.done() == {}
    assert not list((tmp_path / "run").rglob("*.tmp"))
    with opened(tmp_path / "run") as run:
        run.commit("k0", sample, prompt_set="toys")
        assert list(run.done()) == ["k0"]


def test_a_disk_that_fills_while_the_ledger_is_written_is_one_line_and_nothing_is_torn(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    with opened(run) as again:
        database = again._ledger._db
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        evidence = {"long": "x" * 50_000}
        with pytest.raises(StorageError, match=r"no space left on the disk .* run the same command again"):
            again.commit("k9", Sample(request=REQUESTS[0], image=None, evidence=evidence), prompt_set="others")
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k1", "k2"]


def test_a_ledger_that_is_none_is_refused_in_one_line(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    (run / LEDGER).write_bytes(b"no database, and longer than the head of one" * 100)
    with pytest.raises(RunDirectoryError, match=r"ledger.sqlite is no ledger that can be read") as error:
        opened(run)
    assert "\n" not in str(error.value)


def test_a_run_of_an_earlier_version_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema": "evenhand.run/1", "config": CONFIG}))
    (tmp_path / "ledger.jsonl").write_text("{}\n")
    with pytest.raises(RunDirectoryError, match=r"written by an earlier version .* another --out") as error:
        check_out(tmp_path, CONFIG)
    assert "\n" not in str(error.value)


def test_another_fit_of_the_same_name_is_refused(tmp_path: Path) -> None:
    facts = {**toy_facts(), "fits": {"concept-vector": "a"}}
    RunDirectory.open(tmp_path, config=CONFIG, facts=facts).__exit__(None, None, None)
    with pytest.raises(RunDirectoryError, match="begun with other fits"):
        RunDirectory.open(tmp_path, config=CONFIG, facts={**facts, "fits": {"concept-vector": "b"}})


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    check_free(tmp_path / "run")
    with opened(tmp_path / "run"):
        for enter in (opened, check_free):
            with pytest.raises(RunDirectoryError, match="another process is at work") as error:
                enter(tmp_path / "run")
            assert "\n" not in str(error.value)
    check_free(tmp_path / "run")
    opened(tmp_path / "run").__exit__(None, None, None)


def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import os, sys; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path; from toys import toy_facts; from evenhand.store import RunDirectory\n"
        f"run = RunDirectory.open(Path(sys.argv[1]), config={CONFIG!r}, facts=toy_facts())\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "run"), *sys.path], check=False)
    assert done.returncode == 9
    with opened(tmp_path / "run") as run:
        assert run.done() == {}


def test_a_directory_with_nothing_but_a_lock_is_empty(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert check_out(tmp_path, CONFIG) is None


def test_costs_add_up_over_sessions(tmp_path: Path) -> None:
    with opened(tmp_path / "run") as run:
        assert run.costs() == (0, 0.0)
        run.spend(100, 1.5)
    with opened(tmp_path / "run") as run:
        run.spend(20, 0.5)
        assert run.costs() == (120, 2.0)


def test_the_key_names_everything_that_decides_the_bytes() -> None:
    setting = {
        "model": "m",
        "dtype": "float32",
        "batch_size": 4,
        "threads": 1,
        "device": "cpu",
        "arm": None,
        "set": "s",
    }
    request, settings = REQUESTS[0], Settings()
    key = image_keys(settings, setting)(request)
    assert key == content_hash([setting, settings.to_dict(), request.to_dict()])
    assert key == image_keys(settings, dict(reversed(setting.items())))(request)
    others = [image_keys(settings, {**setting, name: "other"})(request) for name in setting]
    others += [image_keys(settings, setting)(REQUESTS[1]), image_keys(Settings(steps=7), setting)(request)]
    assert len({key, *others}) == len(setting) + 3


def test_a_unit_is_a_batch_at_most_and_neighbours_with_other_settings_do_not_share_one() -> None:
    requests = [dataclasses.replace(one, guidance=7.0 if one.index in (5, 6) else None) for one in requests_of("a", 11)]
    missing = [(place, f"k{place}", request) for place, request in enumerate(requests)]
    units = list(units_of(missing, prompt_set="toys", arm=None, batch_size=4))
    assert [unit.places for unit in units] == [(0, 1, 2, 3), (4,), (5, 6), (7, 8, 9, 10)]
    assert [key for unit in units for key in unit.keys] == [key for _, key, _ in missing]
    assert {len({str(request.own_settings) for request in unit.requests}) for unit in units} == {1}
    assert len({unit.hash for unit in units}) == 4
    again = next(units_of(missing, prompt_set="renamed", arm=None, batch_size=4))
    assert again.hash == units[0].hash  # the keys of its images say everything that decides their bytes
