"""The server's memory on disk: one SQLite file in WAL mode, held by one process."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import filelock

from ..errors import RunDirectoryError, StorageError

_TABLES = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS urns (
    key TEXT PRIMARY KEY, balls TEXT NOT NULL, touched REAL NOT NULL, expires REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS draws (id INTEGER PRIMARY KEY, key TEXT NOT NULL, class TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS counts (
    scope TEXT NOT NULL, name TEXT NOT NULL, happened INTEGER NOT NULL, seen INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (
    scope TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, last REAL, PRIMARY KEY (scope, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (id INTEGER PRIMARY KEY, time REAL NOT NULL, line TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS log_by_time ON log (time);
CREATE INDEX IF NOT EXISTS urns_by_expiry ON urns (expires);
"""


class State:
    """An open database.

    WAL with `synchronous=NORMAL` keeps every committed transaction when the process is killed; a power failure may lose
    the last ones, and never tears one.

    Args:
        folder: where `serve.sqlite` and its lock lie; None keeps everything in memory.

    Raises:
        RunDirectoryError: the folder cannot be written, or another server works in it.
    """

    def __init__(self, folder: Path | None) -> None:
        self._lock = threading.RLock()
        self._file_lock: filelock.BaseFileLock | None = None
        where = ":memory:"
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._file_lock = filelock.FileLock(folder / ".lock", timeout=0)
                self._file_lock.acquire()
            except filelock.Timeout:
                raise RunDirectoryError(f"another server works in {folder}: stop it, or give another --state") from None
            except OSError as error:
                raise RunDirectoryError(f"cannot write {folder}: {error.strerror}; give another --state") from error
            where = str(folder / "serve.sqlite")
        try:
            self._connection = sqlite3.connect(where, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            self._connection.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self._release()
            raise RunDirectoryError(f"{where} is no database of this server ({error}); give another --state") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of what is written in the block, or nothing.

        Raises: StorageError when the disk fails.
        """
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise StorageError(f"the server's database cannot be written: {error}") from error

    def secret(self, name: str) -> bytes:
        """Random bytes that stay the same for the life of the database."""
        with self.transaction() as connection:
            row = connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
            if row is None:
                row = (secrets.token_hex(32),)
                connection.execute("INSERT INTO facts VALUES (?, ?)", (name, row[0]))
        return bytes.fromhex(row[0])

    def close(self) -> None:
        """Close it and give the lock back; a second call does nothing."""
        with self._lock:
            self._connection.close()
            self._release()

    def _release(self) -> None:
        if self._file_lock is not None:
            self._file_lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
