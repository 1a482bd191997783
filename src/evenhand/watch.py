"""How a verb tells what it is doing, without knowing who watches."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Told of progress; the command line draws bars, a notebook may do something else."""

    def say(self, text: str) -> None:
        """One line that the user should read."""
        ...

    def start(self, what: str, *, total: int, done: int) -> None:
        """`what` begins: `total` images, of which `done` are there from an earlier session."""
        ...

    def advance(self, count: int = 1) -> None:
        """`count` more images of what was started last and is not complete."""
        ...


class Silent:
    """A watcher that looks away."""

    def say(self, text: str) -> None:
        """Nothing."""

    def start(self, what: str, *, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, count: int = 1) -> None:
        """Nothing."""
