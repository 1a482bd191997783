"""What the user sees while a command runs: bars and remarks on standard error, results on standard output."""

from __future__ import annotations

import logging
import os
from datetime import timedelta
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


def rate(task: Task) -> float | None:
    """What was done a second since the bar was started until it was full, None before anything was.

    A whole batch is done at once, so that the pace between two advances, which rich takes, says nothing.
    """
    done = task.completed - task.fields.get("begun", 0)
    seconds = task.elapsed if task.finished_time is None else task.finished_time
    return done / seconds if seconds and done > 0 else None


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        now = rate(task)
        return Text("" if now is None else f"{now:.2g}/s" if now < 10 else f"{now:.0f}/s", style="progress.data.speed")


class _Left(ProgressColumn):
    """The time that the rest takes at this rate."""

    def render(self, task: Task) -> Text:
        now = rate(task)
        if now is None or task.remaining is None:
            return Text("-:--:--", style="progress.remaining")
        return Text(f"{timedelta(seconds=round(task.remaining / now))}", style="progress.remaining")


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
            _Left(),
            TextColumn("left"),
            console=console,
        )
        self._console = console
        self._open: list[TaskID] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._progress.tasks:
            self._progress.stop()

    def say(self, text: str) -> None:
        """One line above the bars."""
        self._console.print(text, markup=False, highlight=False)

    def start(self, what: str, *, total: int, done: int) -> None:
        """A new bar."""
        # Started no earlier: a refusal would otherwise come below an empty line.
        self._progress.start()
        self._open.append(self._progress.add_task(what, total=total, completed=done, begun=done))

    def advance(self, count: int = 1) -> None:
        """Move the bar that was started last and is not full: a training goes on after the images made in between."""
        tasks = {task.id: task for task in self._progress.tasks}
        while len(self._open) > 1 and not tasks[self._open[-1]].remaining:
            self._open.pop()
        if self._open:
            self._progress.advance(self._open[-1], count)
