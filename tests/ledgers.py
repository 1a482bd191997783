"""The ledger of a run as plain lines, and ways to damage it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evenhand.store import LEDGER, Ledger


def lines(run: Path) -> list[dict[str, Any]]:
    """Every committed image, in order."""
    with Ledger(run) as ledger:
        return list(ledger.lines())


def change(run: Path, *statements: str, values: Sequence[Any] = ()) -> None:
    """Carry out SQL on the ledger, as a stranger would."""
    database = sqlite3.connect(run / LEDGER)
    with database:
        for statement in statements:
            database.execute(statement, values)
    database.close()


def forget_verdicts(run: Path) -> None:
    """As if the run had stopped before anything was judged."""
    change(run, "DELETE FROM verdicts")


def forget_images(run: Path, keep: int) -> None:
    """As if the run had stopped after `keep` images."""
    change(run, "DELETE FROM verdicts WHERE image > ?", "DELETE FROM images WHERE number > ?", values=(keep,))


def judged(run: Path) -> Mapping[str, list[dict[str, Any]]]:
    """The verdicts on each image, by key."""
    with Ledger(run) as ledger:
        return {key: some for key, _, some in ledger.judged()}
