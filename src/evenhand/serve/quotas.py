"""Shares that hold across requests: an urn for each subject and tenant, drawn from without replacement.

An urn holds the classes of a block in their target shares, and is drawn from at random until it is empty; then it is
filled anew. So the images of one subject keep the target within one urn, also when each request asks for one image,
and nobody can tell the next class of an urn that is not nearly empty. A quota over the whole stream would not do: all
doctors of one class and all nurses of the other would meet it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..records import canonical_json
from .state import State

SMALLEST, LARGEST = 10, 100
"""Balls of an urn: the fewest from the smallest on that give the shares exactly, else the largest."""
MOST_URNS = 200_000
"""Beyond it the urns that were touched least recently are dropped."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draw:
    """One class that was drawn. It is settled when its image is handed out, and goes back when it is not."""

    id: int
    class_name: str


class Quotas:
    """The ledger of urns.

    What was drawn and neither settled nor put back when the process died is put back at the next start: its image was
    never handed out.

    Args:
        state: the server's database.
        clock: seconds; for tests.
        chance: where randomness comes from; None is the system's.
    """

    def __init__(
        self, state: State, *, clock: Callable[[], float] = time.time, chance: random.Random | None = None
    ) -> None:
        self._state, self._clock = state, clock
        self._chance = chance or secrets.SystemRandom()
        self._salt = state.secret("subjects")
        with state.transaction() as connection:
            held = connection.execute("SELECT id FROM draws").fetchall()
            for (number,) in held:
                self._put_back(connection, number)

    def draw(
        self, *, tenant: str, concept: str, subject: str, target: Mapping[str, float], count: int, expires: float
    ) -> tuple[Draw, ...]:
        """Classes for `count` images.

        Args:
            tenant: who asks; tenants do not share urns.
            concept: the concept and whatever else decides the target.
            subject: of the prompt; it is stored as a keyed hash only.
            target: share per class, summing to 1.
            count: images.
            expires: seconds after which an urn that nobody drew from begins anew.
        """
        key = self._key(tenant, concept, subject, target)
        now = self._clock()
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM urns WHERE expires < ?", (now,))
            row = connection.execute("SELECT balls FROM urns WHERE key = ?", (key,)).fetchone()
            balls: list[str] = [] if row is None else json.loads(row[0])
            found = []
            for _ in range(count):
                if not balls:
                    balls = _filled(target, self._chance)
                taken = balls.pop(self._chance.randrange(len(balls)))
                row = connection.execute("INSERT INTO draws (key, class) VALUES (?, ?)", (key, taken))
                found.append(Draw(id=int(row.lastrowid or 0), class_name=taken))
            connection.execute(
                "INSERT OR REPLACE INTO urns VALUES (?, ?, ?, ?)", (key, json.dumps(balls), now, now + expires)
            )
            self._forget_some(connection)
        return tuple(found)

    def settle(self, draws: Sequence[Draw]) -> None:
        """Their images were handed out."""
        with self._state.transaction() as connection:
            connection.executemany("DELETE FROM draws WHERE id = ?", [(one.id,) for one in draws])

    def put_back(self, draws: Sequence[Draw]) -> None:
        """Their images were not handed out: refused, failed, or given up."""
        with self._state.transaction() as connection:
            for one in draws:
                self._put_back(connection, one.id)

    def held(self) -> int:
        """Draws that are neither settled nor put back."""
        with self._state.transaction() as connection:
            return int(connection.execute("SELECT COUNT(*) FROM draws").fetchone()[0])

    def _key(self, tenant: str, concept: str, subject: str, target: Mapping[str, float]) -> str:
        about = canonical_json([tenant, concept, subject, dict(target)]).encode()
        return hashlib.blake2b(about, key=self._salt, digest_size=16).hexdigest()

    def _put_back(self, connection: sqlite3.Connection, number: int) -> None:
        row: Any = connection.execute("SELECT key, class FROM draws WHERE id = ?", (number,)).fetchone()
        if row is None:
            return
        key, name = row
        found = connection.execute("SELECT balls FROM urns WHERE key = ?", (key,)).fetchone()
        if found is not None:
            # into the urn as it is now, also after it was filled anew: what was not shown is owed
            balls = [*json.loads(found[0]), name]
            connection.execute("UPDATE urns SET balls = ? WHERE key = ?", (json.dumps(balls), key))
        connection.execute("DELETE FROM draws WHERE id = ?", (number,))

    def _forget_some(self, connection: sqlite3.Connection) -> None:
        (count,) = connection.execute("SELECT COUNT(*) FROM urns").fetchone()
        if count > MOST_URNS:
            connection.execute(
                "DELETE FROM urns WHERE key IN (SELECT key FROM urns ORDER BY touched LIMIT ?)", (count - MOST_URNS,)
            )


def _filled(target: Mapping[str, float], chance: random.Random) -> list[str]:
    counts = urn(tuple(target.values()), chance)
    return [name for name, count in zip(target, counts, strict=True) for _ in range(count)]


def urn(shares: Sequence[float], chance: random.Random) -> tuple[int, ...]:
    """Balls per class: exact where the shares are multiples of 1/d for some d up to 100, else exact on average.

    The expectation of every count is size x share (systematic sampling, Madow 1949): the cumulated shares cut a ruler
    whose marks have a random offset, so each count is its floor or its ceiling.
    """
    size = next(
        (
            size
            for size in range(SMALLEST, LARGEST + 1)
            if all(abs(share * size - round(share * size)) < 1e-9 * size for share in shares)
        ),
        None,
    )
    if size is not None:
        return tuple(round(share * size) for share in shares)
    offset, before, total, counts = chance.random(), 0, 0.0, []
    for share in shares:
        total += share * LARGEST
        after = int(total + offset + 1e-9)
        counts.append(after - before)
        before = after
    return tuple(counts)
