"""Plans that are locked before the images are made: whether an audit is the one that was announced.

The file holds what decides an audit's figures and their content hash, so that a changed file is found out. It proves
nothing about when it was made to someone who does not have it: for that, give its hash to others beforehand.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..files import read_json, write_json
from ..records import content_hash

if TYPE_CHECKING:
    from .prepare import Prepared

SCHEMA = "evenhand.plan/1"
_TECHNICAL = ("device", "dtype", "batch_size")
"""Options of the model that decide how fast images are made, not what is asked."""


def locked_part(prepared: Prepared) -> dict[str, Any]:
    """What a lock holds: prompts with all seeds, target, margin, judge, number of images, settings, interventions."""
    part = dict(prepared.resolved)
    part["model"] = {key: value for key, value in part["model"].items() if key not in _TECHNICAL}
    return part


def lock(path: Path, prepared: Prepared, judge_hash: str | None) -> dict[str, Any]:
    """Write the lock of an audit; one that is there with the same content stays as it is.

    Args:
        path: of the file.
        prepared: the audit.
        judge_hash: of the judge where it was loaded, else None: then only its name is locked.

    Raises: InputError where the file holds something else; StorageError when the disk fails.
    """
    part = {**locked_part(prepared), "judge_hash": judge_hash}
    if path.exists():
        known = read_lock(path)
        if known["hash"] != content_hash(part):
            raise InputError(f"{path} holds another plan, and a locked plan is not changed: choose another name")
        return known
    found = {"schema": SCHEMA, "hash": content_hash(part), "when": _now(), "locked": part}
    write_json(path, found)
    return found


def read_lock(path: Path) -> dict[str, Any]:
    """A lock file.

    Raises: InputError when it is not there, is no lock, or was changed after it was written.
    """
    found = read_json(path)
    if not isinstance(found, dict) or found.get("schema") != SCHEMA or not isinstance(found.get("locked"), dict):
        raise InputError(f"{path} is no plan of the kind {SCHEMA}: give a file that `evenhand plan --lock` wrote")
    if content_hash(found["locked"]) != found.get("hash"):
        raise InputError(f"{path} was changed after it was locked: its content has another hash than it says")
    return found


def registration(prepared: Prepared, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Whether an audit is *pre-registered* or *exploratory*, and why, for result.json.

    Args:
        prepared: the audit.
        facts: what run.json says; its judge and when it was begun.
    """
    path = prepared.config.plan
    if path is None:
        return {"status": "exploratory", "why": "no plan was given", "plan": None, "locked": None}
    found = read_lock(path)
    why = _difference(found, prepared, facts)
    status = "exploratory" if why else "pre-registered"
    return {"status": status, "why": why, "plan": found["hash"], "locked": found["when"]}


def announced(prepared: Prepared) -> str | None:
    """What differs from the plan, as far as it is known before anything is loaded; None where nothing does."""
    return None if prepared.config.plan is None else _difference(read_lock(prepared.config.plan), prepared, {})


def _difference(found: Mapping[str, Any], prepared: Prepared, facts: Mapping[str, Any]) -> str | None:
    theirs, ours = dict(found["locked"]), locked_part(prepared)
    judge_hash = theirs.pop("judge_hash", None)
    differing = sorted(key for key in {*theirs, *ours} if theirs.get(key) != ours.get(key))
    if differing:
        return f"it differs from the plan in {', '.join(differing)}"
    if prepared.config.labels is not None:
        return "it is calibrated by human labels (--labels), which are drawn after the images and stand in no plan"
    seen = (facts.get("judge") or {}).get("hash")
    if judge_hash is not None and seen is not None and judge_hash != seen:
        return "the judge of the same name is another one than in the plan"
    started = facts.get("started")
    if started is not None and _time(started) < _time(found["when"]):
        return "the run was begun before the plan was locked"
    return None


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _time(text: str) -> datetime.datetime:
    try:
        return datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise InputError(f"{text!r} is no time; the plan or run.json was changed by hand") from error
