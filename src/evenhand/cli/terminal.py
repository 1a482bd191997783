"""What the user sees while a command runs: bars and remarks on standard error, results on standard output."""

from __future__ import annotations

import logging
import os
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_NOISY = ("diffusers", "transformers", "huggingface_hub", "accelerate")


def calm() -> None:
    """Leave out what transformers remarks on its own choices, unless the user asked for a level: it needs no action."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def silence() -> None:
    """Quieten the bars and loggers of diffusers and transformers, whether or not they are imported yet."""
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ[name] = "error"
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE"):
        os.environ[name] = "1"
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.1f}/s", style="progress.data.speed")


class Bars:
    """A watcher that draws one bar per prompt set on standard error; silent with `quiet`. Use it in a `with` block."""

    def __init__(self, *, quiet: bool = False) -> None:
        if quiet:
            silence()
        console = Console(stderr=True, quiet=quiet)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._console = console
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._task is not None:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def start(self, what: str, *, total: int, done: int) -> None:
        """A new bar."""
        # Started no earlier: a refusal would otherwise come below an empty line.
        self._progress.start()
        self._task = self._progress.add_task(what, total=total, completed=done)

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, count)
