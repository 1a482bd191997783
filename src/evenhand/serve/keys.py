"""API keys: made once, shown once, kept as hashes; and how often each may ask.

A key is 256 random bits, so one round of SHA-256 is enough to keep it: there is no list of likely keys to try.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, write_json

SCHEMA = "evenhand.keys/1"
ANONYMOUS = "anonymous"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,47}")
_LONGEST = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks.

    Args:
        name: of the key, and of the tenant: quotas and limits are its own.
        watches: whether it may read /metrics and /v1/audit.
        requests_per_minute: None takes the policy's.
    """

    name: str
    watches: bool = False
    requests_per_minute: float | None = None


NOBODY = Caller(name=ANONYMOUS, watches=True)
"""Everybody, where there are no keys; the server then listens on loopback only."""


class Keys:
    """The keys of a file.

    Args:
        entries: hash, 64 hex digits -> its caller.
    """

    def __init__(self, entries: Mapping[str, Caller]) -> None:
        self._entries = dict(entries)

    def caller(self, token: str | None) -> Caller | None:
        """Who holds this key; None where nobody does. It takes the same time whatever the key is."""
        given = _hashed((token or "")[:_LONGEST])
        found = None
        for known, caller in self._entries.items():
            if hmac.compare_digest(known, given):
                found = caller
        return found

    def __len__(self) -> int:
        return len(self._entries)


def read_keys(path: Path) -> Keys:
    """The keys of a file that `add_key` wrote.

    Raises: InputError when it is not there, malformed, or readable by everybody.
    """
    entries = _entries(path)
    if path.stat().st_mode & 0o007:
        raise InputError(f"{path} can be read by everybody on this machine: run `chmod 600 {path}`")
    callers = {}
    for one in entries:
        try:
            fields = dict(one)
            digest = str(fields.pop("hash"))
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                raise ValueError("hash")
            callers[digest] = Caller(**fields)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(f"{path}: a key is malformed ({error}); make it anew with --new-key NAME") from None
    if not callers:
        raise InputError(f"{path} holds no key; make one with `evenhand serve --keys {path} --new-key NAME`")
    return Keys(callers)


def add_key(path: Path, name: str, *, watches: bool = False, requests_per_minute: float | None = None) -> str:
    """Make a key and add its hash to a file; the file is readable by its owner only.

    Returns: the key, which is stored nowhere.
    Raises: InputError for a name that is taken or unusable.
    """
    entries = _entries(path) if path.exists() else []
    if not _NAME.fullmatch(name):
        raise InputError(f"--new-key {name}: expected a name of a-z, 0-9, '.', '_' and '-', such as team-a")
    if any(one.get("name") == name for one in entries):
        raise InputError(f"--new-key {name}: {path} has a key of this name; remove its entry, or choose another name")
    token = f"ev-{secrets.token_urlsafe(32)}"
    caller = Caller(name=name, watches=watches, requests_per_minute=requests_per_minute)
    write_json(path, {"schema": SCHEMA, "keys": [*entries, {"hash": _hashed(token), **dataclasses.asdict(caller)}]})
    path.chmod(0o600)
    return token


def _entries(path: Path) -> Sequence[Mapping[str, Any]]:
    data = read_json(path)
    if not isinstance(data, dict) or data.get("schema") != SCHEMA or not isinstance(data.get("keys"), list):
        raise InputError(f"{path} is no file of keys: expected one that --new-key wrote")
    return data["keys"]


def _hashed(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


class Rates:
    """A token bucket for each caller: a minute's worth may come at once, then at the rate.

    Args:
        clock: seconds; for tests.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, caller: str, per_minute: float | None) -> float:
        """Take one; 0 where it may go on, else the seconds after which it may."""
        if per_minute is None:
            return 0.0
        now, most = self._clock(), max(1.0, per_minute)
        left, before = self._buckets.get(caller, (most, now))
        left = min(most, left + (now - before) * per_minute / 60)
        if left < 1:
            self._buckets[caller] = (left, now)
            return (1 - left) * 60 / per_minute
        self._buckets[caller] = (left - 1, now)
        return 0.0
