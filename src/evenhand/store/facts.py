"""run.json, and whether a directory may be used: everything that can be refused before anything is made."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock

from ..errors import RunDirectoryError
from ..records import content_hash

RUN_SCHEMA = "evenhand.run/2"
RESULT_SCHEMA = "evenhand.result/1"
_EARLIER = ("evenhand.run/1",)
_LOCK = ".lock"
_PACKAGES = ("evenhand", "torch", "diffusers", "transformers", "numpy", "scipy", "pillow")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the result; absent packages are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def new_run(config: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json holds of a run that begins now."""
    return {
        "schema": RUN_SCHEMA,
        **facts,
        "config": dict(config),
        "config_hash": content_hash(config),
        "versions": versions(),
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_run(path: Path) -> dict[str, Any] | None:
    """What `run.json` in the directory `path` says, or None where there is no run.

    Raises: RunDirectoryError when the file is there and is not a run's, or that of an earlier version.
    """
    file = path / "run.json"
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"cannot read {file}: {error}; choose another --out or remove the directory") from error
    check_schema(file, run)
    return run


def check_schema(file: Path, run: Any) -> None:
    """Raises RunDirectoryError, in one line, unless `run`, read from `file`, is what this version writes."""
    schema = run.get("schema") if isinstance(run, dict) else None
    if schema in _EARLIER:
        raise RunDirectoryError(
            f"{file.parent} was written by an earlier version ({schema}, expected {RUN_SCHEMA}): its result.json and "
            "report.html stand; to go on, run it again with another --out"
        )
    if schema != RUN_SCHEMA:
        raise RunDirectoryError(f"{file} is not of the kind {RUN_SCHEMA}; choose another --out")


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


def check_free(path: Path) -> None:
    """Raises RunDirectoryError when another process is at work in `path`: before a model is loaded in vain."""
    if (path / _LOCK).exists():
        lock_run(path).release()


def lock_run(path: Path) -> filelock.BaseFileLock:
    """Lock a run directory, which is made if needed; the system gives the lock back when the process dies.

    Raises: RunDirectoryError when another process is at work there, or nothing can be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path / _LOCK, timeout=0)
        lock.acquire()
    except filelock.Timeout as error:
        raise RunDirectoryError(
            f"another process is at work in {path}: wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise RunDirectoryError(f"--out {path} cannot be written: {error.strerror}; choose another --out") from error
    return lock
