"""The run directory: what a run has done so far, on disk, so that a killed run continues where it stopped.

    run.json        configuration, versions, model, judge, batch size, dtype, threads; written once
    ledger.jsonl    one line per committed image
    verdicts.jsonl  one line per judged image
    images/         the images, PNG
    costs.json      denoiser evaluations and seconds of all sessions together
    result.json     the estimates, written at the end

An image is committed when its ledger line is there: the PNG is in place before the line is written, so a kill at
any moment loses at most the image in hand. On opening, a torn last line and images that are missing or changed
are dropped, and made again.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import filelock
import numpy as np

from .errors import RunDirectoryError
from .files import read_image, slug, write_bytes, write_json, write_png, writing
from .records import Request, Sample, Settings, Verdict, content_hash

RUN_SCHEMA = "evenhand.run/1"
RESULT_SCHEMA = "evenhand.result/1"
_LOCK = ".lock"
_PACKAGES = ("evenhand", "torch", "diffusers", "transformers", "numpy", "scipy", "pillow")


def unit_key(request: Request, settings: Settings, setting: Mapping[str, Any]) -> str:
    """Content hash of one image to make.

    Args:
        request: what to make.
        settings: steps, guidance, size, scheduler.
        setting: everything else that decides the bytes: model hash, dtype, batch size, threads, device, arm, set.
    """
    return content_hash([dict(setting), settings.to_dict(), request.to_dict()])


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result; absent packages are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def read_run(path: Path) -> dict[str, Any] | None:
    """What `run.json` in the directory `path` says, or None where there is no run.

    Raises: RunDirectoryError when the file is there and is not a run's.
    """
    file = path / "run.json"
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"cannot read {file}: {error}; choose another --out or remove the directory") from error
    if not isinstance(run, dict) or run.get("schema") != RUN_SCHEMA:
        raise RunDirectoryError(f"{file} is not of the kind {RUN_SCHEMA}; choose another --out")
    return run


def check_out(path: Path, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Whether a run with `config` may use the directory `path`; creates nothing.

    Returns: what `run.json` says when the run was begun before, else None.
    Raises: RunDirectoryError when `path` is a file, cannot be written, is not empty and not a run, or belongs to
        another configuration (the differing keys are named).
    """
    check_writable(path)
    run = read_run(path)
    if run is None:
        if path.is_dir() and any(entry.name != _LOCK for entry in path.iterdir()):
            raise RunDirectoryError(f"{path} is not empty and not a run directory: choose another --out")
        return None
    check_same_config(path, run["config"], config)
    return run


def check_same_config(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raises RunDirectoryError, naming the keys that differ, unless the two configurations are equal."""
    if content_hash(theirs) == content_hash(ours):
        return
    differing = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    raise RunDirectoryError(
        f"{path} belongs to another configuration ({content_hash(theirs)[:8]}, this one is {content_hash(ours)[:8]}; "
        f"they differ in {', '.join(differing)}): choose another --out, or remove the directory"
    )


def check_writable(path: Path) -> None:
    """Raises RunDirectoryError unless `path` is a directory that can be written, or could be created."""
    nearest = path.absolute()
    while not nearest.exists() and nearest.parent != nearest:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise RunDirectoryError(f"--out {path}: {nearest} is a file, expected a directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunDirectoryError(f"--out {path}: {nearest} cannot be written; choose another --out")


class RunDirectory:
    """One run on disk; use it in a `with` block, which holds the lock that keeps a second process out."""

    def __init__(self, path: Path, facts: dict[str, Any], lock: filelock.BaseFileLock) -> None:
        self.path = path
        self.facts = facts
        self._lock = lock
        self._ledger: dict[str, dict[str, Any]] = {}
        self._verdicts: dict[str, dict[str, Any]] = {}
        self._recover()

    @classmethod
    def open(cls, path: Path, *, config: Mapping[str, Any], facts: Mapping[str, Any]) -> Self:
        """Create the run directory `path`, or continue it.

        Args:
            path: the directory; parents are made as needed.
            config: what was asked; a directory of another configuration is refused.
            facts: what run.json holds beside it: verb, command, model, judge, batch_size, dtype, threads.

        Raises: RunDirectoryError as `check_out` does, when another process is at work in it, or when it was begun
            with another model than `facts` names.
        """
        known = check_out(path, config)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(path / _LOCK, timeout=0)
            lock.acquire()
        except filelock.Timeout as error:
            raise RunDirectoryError(
                f"another process is at work in {path}: wait for it, or choose another --out"
            ) from error
        except OSError as error:
            raise RunDirectoryError(
                f"--out {path} cannot be written: {error.strerror}; choose another --out"
            ) from error
        try:
            if known is None:
                known = _new_run(config, facts)
                write_json(path / "run.json", known)
            elif _model_hash(known) != _model_hash(facts):
                raise RunDirectoryError(f"{path} was begun with another model of the same name: choose another --out")
            return cls(path, known, lock)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()

    def done(self) -> dict[str, dict[str, Any]]:
        """The ledger lines of the committed images by key."""
        return dict(self._ledger)

    def verdicts(self, judge: str) -> dict[str, tuple[Verdict, ...]]:
        """The stored verdicts of the judge with the hash `judge`, by key."""
        return {
            key: tuple(Verdict.from_dict(verdict) for verdict in line["verdicts"])
            for key, line in self._verdicts.items()
            if line["judge"] == judge
        }

    def image(self, key: str) -> np.ndarray | None:
        """The committed image as uint8 (height, width, 3), None where the model made none."""
        file = self._ledger[key]["file"]
        return None if file is None else read_image(self.path / file)

    def commit(self, key: str, sample: Sample, *, prompt_set: str, arm: str | None = None) -> None:
        """Store one image: the PNG first, then its ledger line."""
        request = sample.request
        folder = [slug(f"arm {arm}")] if arm else []
        name = "/".join(["images", *folder, slug(prompt_set), slug(request.row), f"{request.index:05d}.png"])
        digest = None if sample.image is None else write_png(self.path / name, sample.image)
        line = {
            "key": key,
            "arm": arm,
            "set": prompt_set,
            "row": request.row,
            "prompt": request.prompt,
            "index": request.index,
            "seed": request.seed,
            "assigned": request.assigned,
            "file": name if digest else None,
            "sha256": digest,
            "valid": sample.valid,
            **request.own_settings,
        }
        if sample.evidence:
            line["evidence"] = dict(sample.evidence)
        self._append("ledger.jsonl", [line])
        self._ledger[key] = line

    def commit_verdicts(self, judge: str, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
        """Store the verdicts of the judge with the hash `judge` on some images, by key."""
        lines = [
            {"key": key, "judge": judge, "verdicts": [verdict.to_dict() for verdict in some]}
            for key, some in verdicts.items()
        ]
        self._append("verdicts.jsonl", lines)
        self._verdicts.update((line["key"], line) for line in lines)

    def costs(self, arm: str | None = None) -> tuple[int, float]:
        """Denoiser evaluations and seconds of all sessions so far; with `arm` those of one arm, "" is the plain one."""
        spent = self._spent()
        part = spent if arm is None else spent["arms"].get(arm, _NOTHING)
        return int(part["denoiser_evaluations"]), float(part["seconds"])

    def spend(self, evaluations: int, seconds: float, arm: str | None = None) -> None:
        """Add to the costs of an arm, None being the plain one, and to their sum."""
        before = self._spent()
        arms = {**before["arms"], arm or "": _plus(before["arms"].get(arm or "", _NOTHING), evaluations, seconds)}
        write_json(self.path / "costs.json", {**_plus(before, evaluations, seconds), "arms": arms})

    def _spent(self) -> dict[str, Any]:
        try:
            return {"arms": {}, **json.loads((self.path / "costs.json").read_text(encoding="utf-8"))}
        except FileNotFoundError:
            return {**_NOTHING, "arms": {}}

    def _append(self, name: str, lines: Sequence[Mapping[str, Any]]) -> None:
        data = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()
        path = self.path / name
        # One unbuffered write: what a kill or a full disk leaves is at most one torn line at the end of the file.
        with writing(path), path.open("ab", buffering=0) as file:
            if file.write(data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _recover(self) -> None:
        """Read the ledgers and drop what cannot be trusted: torn lines, images that are missing or have changed."""
        ledger, torn = _read_lines(self.path / "ledger.jsonl")
        verdicts, torn_verdicts = _read_lines(self.path / "verdicts.jsonl")
        latest = {line["key"]: line for line in ledger}
        self._ledger = {key: line for key, line in latest.items() if _intact(self.path, line)}
        self._verdicts = {line["key"]: line for line in verdicts if line["key"] in self._ledger}
        # The files are written anew, so that a verdict on a dropped image can never meet the image that replaces it.
        if torn or len(self._ledger) != len(ledger):
            _rewrite(self.path / "ledger.jsonl", self._ledger)
        if torn_verdicts or len(self._verdicts) != len(verdicts):
            _rewrite(self.path / "verdicts.jsonl", self._verdicts)


_NOTHING: Mapping[str, float] = {"denoiser_evaluations": 0, "seconds": 0.0}


def _plus(spent: Mapping[str, Any], evaluations: int, seconds: float) -> dict[str, Any]:
    return {
        "denoiser_evaluations": spent["denoiser_evaluations"] + evaluations,
        "seconds": spent["seconds"] + seconds,
    }


def _new_run(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "schema": RUN_SCHEMA,
        **facts,
        "config": dict(config),
        "config_hash": content_hash(config),
        "versions": versions(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _model_hash(facts: Mapping[str, Any]) -> str | None:
    return (facts.get("model") or {}).get("hash")


def _intact(path: Path, line: Mapping[str, Any]) -> bool:
    if line["file"] is None:
        return True
    try:
        return hashlib.sha256((path / line["file"]).read_bytes()).hexdigest() == line["sha256"]
    except OSError:
        return False


def _read_lines(path: Path) -> tuple[list[dict[str, Any]], bool]:
    """The lines of a ledger, and whether its end was torn."""
    if not path.exists():
        return [], False
    *complete, rest = path.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(complete, 1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            if number < len(complete):
                raise RunDirectoryError(
                    f"{path}, line {number}: not JSON; remove the directory and run again"
                ) from error
            return lines, True
    return lines, bool(rest)


def _rewrite(path: Path, lines: Mapping[str, Mapping[str, Any]]) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines.values())
    write_bytes(path, text.encode())
