"""Keys: shown once, kept as hashes; and buckets of requests."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from evenhand.errors import InputError
from evenhand.serve.keys import Rates, add_key, read_keys


def test_a_key_is_found_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    first, second = add_key(path, "team-a"), add_key(path, "prometheus", watches=True, requests_per_minute=5.0)
    keys = read_keys(path)
    assert first != second
    assert len(keys) == 2
    assert first not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    caller = keys.caller(second)
    assert caller is not None
    assert (caller.name, caller.watches, caller.requests_per_minute) == ("prometheus", True, 5.0)


@pytest.mark.parametrize("token", [None, "", "ev-", "wrong", "x" * 10_000, "\udce9"])
def test_another_token_is_nobody(tmp_path: Path, token: str | None) -> None:
    path = tmp_path / "keys.json"
    add_key(path, "team-a")
    assert read_keys(path).caller(token) is None


def test_a_name_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    add_key(path, "team-a")
    with pytest.raises(InputError, match="has a key of this name"):
        add_key(path, "team-a")
    with pytest.raises(InputError, match="expected a name"):
        add_key(path, "Team A")


def test_files_that_cannot_be_trusted_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(InputError, match="cannot read"):
        read_keys(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="no file of keys"):
        read_keys(path)
    path.write_text(json.dumps({"schema": "evenhand.keys/1", "keys": []}))
    path.chmod(0o600)
    with pytest.raises(InputError, match="holds no key"):
        read_keys(path)
    path.write_text(json.dumps({"schema": "evenhand.keys/1", "keys": [{"hash": "short", "name": "a"}]}))
    with pytest.raises(InputError, match="malformed"):
        read_keys(path)
    path.chmod(0o604)
    with pytest.raises(InputError, match="chmod 600"):
        read_keys(path)


def test_a_minute_s_worth_at_once_and_then_at_the_rate() -> None:
    """60 a minute: 60 at once, then one a second; after 2.5 s two more, and half a second is left to wait."""
    now = [0.0]
    rates = Rates(clock=lambda: now[0])
    assert [rates.wait("a", 60.0) for _ in range(60)] == [0.0] * 60
    assert rates.wait("a", 60.0) == pytest.approx(1.0)
    assert rates.wait("b", 60.0) == 0.0
    now[0] = 2.5
    assert [rates.wait("a", 60.0) for _ in range(2)] == [0.0, 0.0]
    assert rates.wait("a", 60.0) == pytest.approx(0.5)


def test_without_a_limit_nobody_waits() -> None:
    rates = Rates()
    assert {rates.wait("a", None) for _ in range(1000)} == {0.0}


def test_a_limit_below_one_a_minute_lets_one_through() -> None:
    now = [0.0]
    rates = Rates(clock=lambda: now[0])
    assert rates.wait("a", 0.5) == 0.0
    assert rates.wait("a", 0.5) == pytest.approx(120.0)
