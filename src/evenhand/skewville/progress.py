"""A progress bar with rate, time left and the running loss."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self


class Progress:
    """One line that is rewritten on a terminal, and a line a minute in a log."""

    def __init__(self, name: str, total: int, *, quantity: str = "steps", batch: int = 1, done: int = 0) -> None:
        self._name, self._total, self._quantity, self._batch = name, total, quantity, batch
        self._done, self._begin, self._start, self._last = done, done, time.monotonic(), 0.0
        self._means: dict[str, float] = {}
        self._tty = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._print(force=True)
        sys.stderr.write("\n")

    def advance(self, **numbers: float) -> None:
        """One more step; `numbers` are shown as running means."""
        self._done += 1
        for key, number in numbers.items():
            self._means[key] = 0.98 * self._means.get(key, number) + 0.02 * number
        self._print()

    def _print(self, force: bool = False) -> None:
        now = time.monotonic()
        if not force and now - self._last < (0.5 if self._tty else 60):
            return
        self._last = now
        elapsed = max(now - self._start, 1e-9)
        rate = (self._done - self._begin) / elapsed
        left = (self._total - self._done) / max(rate, 1e-9)
        numbers = "  ".join(f"{key} {value:.4f}" for key, value in self._means.items())
        line = (
            f"{self._name}: {self._done}/{self._total}  {rate * self._batch:.0f} {self._quantity}/s  "
            f"{int(left // 60)}:{int(left % 60):02d} left  {numbers}"
        )
        sys.stderr.write(("\r\x1b[2K" if self._tty else "\n") + line)
        sys.stderr.flush()
