"""The ledger of a run: a SQLite database with a row per committed image, its verdicts, and what was spent.

It is in WAL mode: one process writes while others read, and a transaction is there whole or not at all, whenever the
writer dies. SQLite's WAL needs a file system with shared memory, which network file systems lack.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import RunDirectoryError, StorageError
from ..records import Verdict
from .images import name_of
from .units import Finished

LEDGER = "ledger.sqlite"
_VERSION = 1
_SCHEMA = """
CREATE TABLE images (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, place INTEGER NOT NULL, arm TEXT, "set" TEXT NOT NULL,
    row TEXT NOT NULL, prompt TEXT NOT NULL, "index" INTEGER NOT NULL, seed INTEGER NOT NULL, assigned TEXT,
    guidance REAL, width INTEGER, height INTEGER, sha256 TEXT, size INTEGER, changed INTEGER, evidence TEXT
);
CREATE TABLE verdicts (
    image INTEGER NOT NULL, judge TEXT NOT NULL, verdicts TEXT NOT NULL, UNIQUE (image, judge)
);
CREATE TABLE costs (arm TEXT PRIMARY KEY, denoiser_evaluations INTEGER NOT NULL, seconds REAL NOT NULL);
"""
_PAID = "CREATE TABLE IF NOT EXISTS paid (amount REAL NOT NULL)"
"""Prices of images that an endpoint made and that are no longer there; ledgers of earlier versions lack it."""
_ORDER = """
JOIN (SELECT arm, "set", MIN(number) AS first FROM images GROUP BY arm, "set") AS part
    ON images.arm IS part.arm AND images."set" = part."set"
ORDER BY part.first, images.place, images.number
"""
_FIELDS = ("key", "arm", "set", "row", "prompt", "index", "seed", "assigned", "guidance", "width", "height")
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_WRITE")
Mark = tuple[int, int] | None


class Ledger:
    """The ledger in a run directory.

    Args:
        run: the directory.
        write: whether to write it; it is made if needed. Readers may work beside the one writer.

    Raises: RunDirectoryError when there is none to read, or it is no ledger of this version; StorageError when the disk
        fails.
    """

    def __init__(self, run: Path, *, write: bool = False) -> None:
        self.path = run / LEDGER
        with self._reading():
            self._db = _opened(self.path, write=write)
            self._db.execute("CREATE TEMP TABLE wanted (position INTEGER PRIMARY KEY, key TEXT NOT NULL)")
            self._db.execute("CREATE TEMP TABLE found (sha256 TEXT PRIMARY KEY, size INTEGER, changed INTEGER)")

    def close(self) -> None:
        """Close the database; its log is then folded into the one file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        """Committed images."""
        return self._one("SELECT COUNT(*) FROM images")

    @property
    def invalid(self) -> int:
        """Images that the model gave as no numbers; those that an endpoint refused are no such images."""
        refused = "evidence IS NOT NULL AND json_extract(evidence, '$.refused') IS NOT NULL"
        return self._one(f"SELECT COUNT(*) FROM images WHERE sha256 IS NULL AND NOT ({refused})")

    def missing(self, keys: Sequence[str]) -> list[int]:
        """The positions in `keys` of images that are not committed. Cost: some microseconds a key."""
        query = "SELECT position FROM wanted WHERE NOT EXISTS (SELECT 1 FROM images WHERE key = wanted.key)"
        with self._wanted(keys):
            return [position for (position,) in self._rows(f"{query} ORDER BY position")]

    def unjudged(self, keys: Sequence[str], judge: str) -> list[int]:
        """The positions in `keys` of committed images that have no verdict of the judge with the hash `judge`."""
        query = """
        SELECT position FROM wanted JOIN images USING (key) WHERE NOT EXISTS
            (SELECT 1 FROM verdicts WHERE image = images.number AND judge = ?)
        ORDER BY position
        """
        with self._wanted(keys):
            return [position for (position,) in self._rows(query, judge)]

    def verdicts(self, judge: str, keys: Sequence[str] | None = None) -> dict[str, tuple[Verdict, ...]]:
        """The verdicts of the judge with the hash `judge`, by key; of all images, or of those that are named."""
        query = "SELECT key, verdicts FROM verdicts JOIN images ON number = image WHERE judge = ?"
        if keys is None:
            return {key: _verdicts(text) for key, text in self._rows(f"{query} ORDER BY number", judge)}
        with self._wanted(keys):
            rows = self._rows(f"{query} AND key IN (SELECT key FROM wanted)", judge)
            return {key: _verdicts(text) for key, text in rows}

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every committed image as a plain dict, series by series in the order of their images."""
        chosen = ", ".join(f'images."{name}"' for name in (*_FIELDS, "sha256", "evidence"))
        for row in self._rows(f"SELECT {chosen} FROM images {_ORDER}"):
            yield _line(row)

    def line(self, key: str) -> dict[str, Any]:
        """One committed image. Raises: KeyError when it is not there."""
        chosen = ", ".join(f'"{name}"' for name in (*_FIELDS, "sha256", "evidence"))
        for row in self._rows(f"SELECT {chosen} FROM images WHERE key = ?", key):
            return _line(row)
        raise KeyError(key)

    def judged(self) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
        """Key, judge and verdicts, as plain dicts, of every judged image; the latest come last."""
        query = "SELECT key, judge, verdicts FROM verdicts JOIN images ON number = image ORDER BY verdicts.rowid"
        for key, judge, text in self._rows(query):
            yield key, judge, json.loads(text)

    def judged_lines(self) -> Iterator[tuple[dict[str, Any], str | None, list[dict[str, Any]]]]:
        """Every committed image as `lines` gives it, with the latest judge and its verdicts; none where it has none."""
        chosen = ", ".join(f'images."{name}"' for name in (*_FIELDS, "sha256", "evidence"))
        latest = "LEFT JOIN (SELECT *, MAX(rowid) FROM verdicts GROUP BY image) AS seen ON seen.image = number"
        for *row, judge, text in self._rows(f"SELECT {chosen}, judge, verdicts FROM images {latest} {_ORDER}"):
            yield _line(row), judge, [] if text is None else json.loads(text)

    def concepts(self) -> list[str]:
        """The concepts that were judged, each once, in the order of the first images."""
        query = "SELECT DISTINCT json_extract(one.value, '$.concept') FROM verdicts, json_each(verdicts) AS one"
        return [name for (name,) in self._rows(query)]

    def files(self) -> Iterator[tuple[str, int, int]]:
        """SHA-256, size and time of change of every image that has a file."""
        yield from self._rows("SELECT sha256, size, changed FROM images WHERE sha256 IS NOT NULL")

    def costs(self, arm: str | None = None) -> tuple[int, float]:
        """Denoiser evaluations and seconds of all sessions so far; with `arm` those of one arm, "" is the plain one."""
        query = "SELECT COALESCE(SUM(denoiser_evaluations), 0), COALESCE(SUM(seconds), 0.0) FROM costs"
        rows = self._rows(query) if arm is None else self._rows(f"{query} WHERE arm = ?", arm)
        ((evaluations, seconds),) = rows
        return int(evaluations), float(seconds)

    def commit(self, done: Finished, marks: Sequence[Mark]) -> None:
        """Images, verdicts and costs of a unit in one transaction.

        Raises: StorageError when the disk fails; nothing of the unit is committed then.
        """
        unit = done.unit
        with self._transaction():
            for place, key, request, image, mark in zip(
                unit.places, unit.keys, unit.requests, done.images, marks, strict=True
            ):
                own = request.own_settings
                size, changed = mark or (None, None)
                evidence = json.dumps(dict(image.evidence), ensure_ascii=False) if image.evidence else None
                row = (key, place, unit.arm, unit.prompt_set, request.row, request.prompt, request.index, request.seed,
                       request.assigned, own.get("guidance"), own.get("width"), own.get("height"), image.sha256, size,
                       changed, evidence)  # fmt: skip
                self._db.execute(f"INSERT INTO images VALUES (NULL, {', '.join('?' * len(row))})", row)
            if done.verdicts:
                self._judge(done.judge, zip(unit.keys, done.verdicts, strict=True))
            self._spend(done.evaluations, done.seconds, unit.arm)

    def commit_verdicts(self, judge: str, verdicts: Mapping[str, Sequence[Verdict]]) -> None:
        """The verdicts of the judge with the hash `judge` on committed images, by key."""
        with self._transaction():
            self._judge(judge, verdicts.items())

    def spend(self, evaluations: int, seconds: float, arm: str | None = None) -> None:
        """Add to the costs of an arm, None being the plain one."""
        with self._transaction():
            self._spend(evaluations, seconds, arm)

    @property
    def paid(self) -> float:
        """What was paid for images that are not in the ledger; of one that is opened for writing."""
        return float(self._one("SELECT COALESCE(SUM(amount), 0.0) FROM paid"))

    def pay(self, amount: float) -> None:
        """Keep the price of an image that is not in the ledger."""
        with self._transaction():
            self._db.execute("INSERT INTO paid VALUES (?)", (amount,))

    def drop(self, sha256s: Iterable[str]) -> None:
        """Forget the images with these contents, and every verdict on them: they will be made again.

        What an endpoint took for them stays in `paid`.
        """
        with self._transaction(), self._found((one, None, None) for one in sha256s):
            gone = "sha256 IN (SELECT sha256 FROM found)"
            cost = "json_extract(evidence, '$.cost')"
            self._db.execute(f"INSERT INTO paid SELECT {cost} FROM images WHERE {gone} AND {cost} IS NOT NULL")
            self._db.execute(f"DELETE FROM verdicts WHERE image IN (SELECT number FROM images WHERE {gone})")
            self._db.execute(f"DELETE FROM images WHERE {gone}")

    def mark(self, marks: Mapping[str, Mark]) -> None:
        """Set size and time of change of files that were found whole."""
        with self._transaction(), self._found((one, *mark) for one, mark in marks.items() if mark):
            self._db.execute(
                """
                UPDATE images SET size = found.size, changed = found.changed FROM found
                WHERE images.sha256 = found.sha256
                """
            )

    def _judge(self, judge: str, verdicts: Iterable[tuple[str, Sequence[Verdict]]]) -> None:
        rows = [
            (judge, json.dumps([one.to_dict() for one in some], ensure_ascii=False, allow_nan=False), key)
            for key, some in verdicts
        ]
        self._db.executemany("INSERT OR REPLACE INTO verdicts SELECT number, ?, ? FROM images WHERE key = ?", rows)

    def _spend(self, evaluations: int, seconds: float, arm: str | None) -> None:
        self._db.execute(
            """
            INSERT INTO costs VALUES (?, ?, ?) ON CONFLICT (arm) DO UPDATE SET
                denoiser_evaluations = denoiser_evaluations + excluded.denoiser_evaluations,
                seconds = seconds + excluded.seconds
            """,
            (arm or "", evaluations, seconds),
        )

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        with self._reading():
            # No `yield from`: it would close the cursor of a reading that is left early, perhaps after the database.
            for row in self._db.execute(query, values):  # noqa: UP028
                yield row

    def _one(self, query: str) -> Any:
        ((value,),) = self._rows(query)
        return value

    @contextlib.contextmanager
    def _wanted(self, keys: Sequence[str]) -> Iterator[None]:
        """The keys as a table of this connection, in memory."""
        self._db.executemany("INSERT INTO wanted VALUES (?, ?)", enumerate(keys))
        try:
            yield
        finally:
            self._db.execute("DELETE FROM wanted")

    @contextlib.contextmanager
    def _found(self, files: Iterable[tuple[str, int | None, int | None]]) -> Iterator[None]:
        """Files with size and time of change as a table of this connection."""
        self._db.execute("DELETE FROM found")
        self._db.executemany("INSERT INTO found VALUES (?, ?, ?)", files)
        yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise _storage(self.path, error) from error

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and getattr(error, "sqlite_errorname", "") in _FULL:
                raise _storage(self.path, error) from error
            raise RunDirectoryError(
                f"{self.path} is no ledger that can be read ({error}); remove the directory and run again"
            ) from error


def _opened(path: Path, *, write: bool) -> sqlite3.Connection:
    if not write:
        return _for_reading(path)
    db = sqlite3.connect(path, isolation_level=None, timeout=30)
    db.execute("PRAGMA journal_mode = WAL")
    # A commit is on the disk when it returns, also after a power cut; there is one per batch of images.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA temp_store = MEMORY")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0:
        db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
    _check_version(version or _VERSION)
    db.execute(_PAID)
    return db


def _for_reading(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise RunDirectoryError(f"{path}: not found; expected a run directory; the command that began it continues it")
    uri = path.resolve().as_uri()
    db = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None, timeout=30)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.OperationalError:
        # A folder that cannot be written: no log can be made beside the file, and nobody writes it.
        db.close()
        db = sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True, isolation_level=None)
        (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute("PRAGMA temp_store = MEMORY")
    _check_version(version)
    return db


def _check_version(version: int) -> None:
    if version != _VERSION:
        raise sqlite3.DatabaseError(f"it has version {version}, expected {_VERSION}")


def _storage(path: Path, error: sqlite3.Error) -> StorageError:
    if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
        return StorageError(
            f"no space left on the disk while writing {path}; what is done stays: "
            "free some space and run the same command again"
        )
    return StorageError(f"cannot write {path}: {error}; what is done stays, run the same command again")


def _verdicts(text: str) -> tuple[Verdict, ...]:
    return tuple(Verdict.from_dict(one) for one in json.loads(text))


def _line(row: Sequence[Any]) -> dict[str, Any]:
    *fields, sha256, evidence = row
    line = dict(zip(_FIELDS, fields, strict=True))
    for name in ("guidance", "width", "height"):
        if line[name] is None:
            del line[name]
    line |= {"file": None if sha256 is None else name_of(sha256), "sha256": sha256, "valid": sha256 is not None}
    if evidence is not None:
        line["evidence"] = json.loads(evidence)
    return line
