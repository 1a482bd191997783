"""A run directory: what is committed stays, what is torn or changed is made again, and nobody else gets in."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import requests_of, toy_facts, toy_image

from evenhand.errors import RunDirectoryError, StorageError
from evenhand.records import Sample, Settings, Verdict
from evenhand.store import RunDirectory, check_out, read_run, unit_key

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


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    with opened(tmp_path / "deep" / "run") as run:
        assert run.facts["schema"] == "evenhand.run/1"
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
    line = lines(filled(tmp_path / "run") / "ledger.jsonl")[1]
    assert set(line) == {
        *("key", "arm", "set", "row", "prompt", "index", "seed", "assigned", "file", "sha256", "valid"),
    }
    assert line["file"] == "images/toys/nurse/00001.png"
    assert (line["set"], line["row"], line["index"], line["valid"]) == ("toys", "nurse", 1, True)


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_torn_last_line_is_dropped(tmp_path: Path, cut: int) -> None:
    run = filled(tmp_path / "run")
    ledger = run / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k1"]
        assert list(again.verdicts("toy")) == ["k0", "k1"]
        again.commit("k2", Sample(request=REQUESTS[2], image=toy_image(REQUESTS[2])), prompt_set="toys")
    assert [line["key"] for line in lines(ledger)] == ["k0", "k1", "k2"]


def test_a_line_that_is_torn_in_the_verdicts_only_is_judged_again(tmp_path: Path) -> None:
    run = filled(tmp_path / "run")
    (run / "verdicts.jsonl").write_bytes((run / "verdicts.jsonl").read_bytes()[:-5])
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k1", "k2"]
        assert list(again.verdicts("toy")) == ["k0", "k1"]


@pytest.mark.parametrize("damage", ["missing", "changed", "truncated"])
def test_a_damaged_image_is_dropped_with_its_verdict(tmp_path: Path, damage: str) -> None:
    run = filled(tmp_path / "run")
    image = run / "images/toys/nurse/00001.png"
    if damage == "missing":
        image.unlink()
    else:
        data = image.read_bytes()
        image.write_bytes(data[:-7] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1]))
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k2"]
        assert list(again.verdicts("toy")) == ["k0", "k2"]
    assert [line["key"] for line in lines(run / "verdicts.jsonl")] == ["k0", "k2"]


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


def test_a_ledger_line_that_was_cut_by_a_full_disk_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = filled(tmp_path / "run")
    plain = Path.open

    class Short:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Short:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            return self.file.write(data[:10])

    sample = Sample(request=REQUESTS[0], image=toy_image(REQUESTS[0]))
    with opened(run) as again, monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, *args, **named: Short(plain(path, *args, **named)))
        with pytest.raises(StorageError, match="no space left"):
            again.commit("k9", sample, prompt_set="others")
    with opened(run) as again:
        assert list(again.done()) == ["k0", "k1", "k2"]


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    with opened(tmp_path / "run"), pytest.raises(RunDirectoryError, match="another process is at work"):
        opened(tmp_path / "run")
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


def test_rows_of_equal_names_in_two_sets_keep_their_own_files(tmp_path: Path) -> None:
    sample = Sample(request=REQUESTS[0], image=toy_image(REQUESTS[0]))
    with opened(tmp_path / "run") as run:
        run.commit("a", sample, prompt_set="occupations")
        run.commit("b", sample, prompt_set="occupations-successful")
        run.commit("c", sample, prompt_set="occupations", arm="safe-guidance")
        assert len({line["file"] for line in run.done().values()}) == 3


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
    key = unit_key(request, settings, setting)
    assert key == unit_key(request, settings, dict(reversed(setting.items())))
    others = [unit_key(request, settings, {**setting, name: "other"}) for name in setting]
    others += [unit_key(REQUESTS[1], settings, setting), unit_key(request, Settings(steps=7), setting)]
    assert len({key, *others}) == len(setting) + 3
