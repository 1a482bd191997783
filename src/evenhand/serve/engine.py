"""One thread that makes all images: requests wait in a bounded queue, and share batches.

Images of different requests are computed together where they share size, steps and guidance; prompts, seeds and
interventions may differ from row to row. What is wrong with one request fails that request alone: a batch that raises
is computed again request by request.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np

from ..records import Settings
from .order import Made, Order

Make = Callable[[Sequence[Order], Settings, Callable[[], bool]], Sequence[np.ndarray | None]]
"""One batch: images in order; the last argument tells whether nobody waits for any of them any more."""
Inspect = Callable[[Sequence[Made]], Sequence[Made | Order]]
"""Looks at a batch: an image to hand out, or an order for another one in its place."""

_LONGEST_PAUSE = 0.25
_PAUSE_SHARE = 0.05


class Full(Exception):
    """The queue is full.

    Args:
        seconds: until there may be room.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the queue is full; try again in {seconds:.0f} s")
        self.seconds = seconds


class Late(Exception):
    """The deadline of a request has passed."""


class Abandoned(Exception):
    """Nobody waits for the images of this batch."""


class Closed(Exception):
    """The server stops, and takes no more requests."""


@dataclasses.dataclass(eq=False, kw_only=True)
class _Job:
    """One request."""

    settings: Settings
    deadline: float
    future: Future[tuple[Made, ...]]
    waiting: collections.deque[Order]
    made: dict[int, Made]
    images: int

    @property
    def given_up(self) -> bool:
        return self.future.done() or time.monotonic() > self.deadline


@dataclasses.dataclass(frozen=True, kw_only=True)
class Telling:
    """What the engine tells of itself; every call comes from its thread.

    Args:
        batch: rows and seconds of a batch that was made.
        queue: images that wait.
    """

    batch: Callable[[int, float], None] = lambda rows, seconds: None
    queue: Callable[[int], None] = lambda images: None


class Engine:
    """The thread and its queue.

    Args:
        make: computes one batch.
        inspect: looks at it.
        batch_size: rows of a batch at most.
        queue: images that may wait, 1 or more.
        telling: for metrics.
    """

    def __init__(
        self, make: Make, inspect: Inspect, *, batch_size: int, queue: int, telling: Telling | None = None
    ) -> None:
        self._make, self._inspect = make, inspect
        self._batch_size, self._queue = batch_size, queue
        self._telling = telling or Telling()
        self._jobs: collections.deque[_Job] = collections.deque()
        self._changed = threading.Condition()
        self._closed = False
        self._seconds_per_image = 0.0
        self._latest = (0, 0.0)  # requests and seconds of the latest batch
        self._thread = threading.Thread(target=self._run, name="evenhand-engine", daemon=True)
        self._thread.start()

    def submit(self, orders: Sequence[Order], settings: Settings, deadline: float) -> Future[tuple[Made, ...]]:
        """Queue a request.

        Args:
            orders: its images.
            settings: of all of them.
            deadline: `time.monotonic()` after which nobody wants them.

        Returns: the images in order. Cancelling it gives the request up.
        Raises: Full; Closed.
        """
        with self._changed:
            if self._closed:
                raise Closed
            waiting = self._waiting()
            if waiting and waiting + len(orders) > self._queue:
                raise Full(max(1.0, waiting * self._seconds_per_image))
            job = _Job(
                settings=settings,
                deadline=deadline,
                future=Future(),
                waiting=collections.deque(orders),
                made={},
                images=len(orders),
            )
            self._jobs.append(job)
            self._telling.queue(self._waiting())
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Finish what waits, take nothing more, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _waiting(self) -> int:
        return sum(len(job.waiting) for job in self._jobs)

    def _run(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            if batch:
                self._serve(batch)

    def _next(self) -> list[tuple[_Job, Order]] | None:
        """Images that are made together; None at the end."""
        with self._changed:
            while not any(job.waiting for job in self._jobs):
                if self._closed:
                    return None
                self._changed.wait()
            self._gather()
            self._drop_given_up()
            first = next((job for job in self._jobs if job.waiting), None)
            batch: list[tuple[_Job, Order]] = []
            for job in self._jobs:
                while first and job.waiting and job.settings == first.settings and len(batch) < self._batch_size:
                    batch.append((job, job.waiting.popleft()))
            self._telling.queue(self._waiting())
        return batch

    def _gather(self) -> None:
        """Where several requests shared the latest batch, wait a moment for the next ones of the same clients."""
        requests, seconds = self._latest
        if requests < 2:
            return
        until = time.monotonic() + min(_LONGEST_PAUSE, _PAUSE_SHARE * seconds)
        while self._waiting() < self._batch_size and not self._closed:
            left = until - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                return

    def _drop_given_up(self) -> None:
        for job in [one for one in self._jobs if one.given_up]:
            self._end(job, Late())

    def _serve(self, batch: Sequence[tuple[_Job, Order]]) -> None:
        jobs = list(dict.fromkeys(job for job, _ in batch))
        start = time.monotonic()
        try:
            images = self._make(
                [order for _, order in batch], jobs[0].settings, lambda: all(job.given_up for job in jobs)
            )
            made = [
                Made(order=order, image=image, rows=len(batch)) for (_, order), image in zip(batch, images, strict=True)
            ]
            looked_at = self._inspect(made)
        except Abandoned:
            self._fail(jobs, Late())
            return
        except Exception as error:
            if len(jobs) == 1:
                self._fail(jobs, error)
                return
            for job in jobs:
                self._serve([(one, order) for one, order in batch if one is job])
            return
        seconds = time.monotonic() - start
        self._latest, self._seconds_per_image = (len(jobs), seconds), seconds / len(batch)
        self._telling.batch(len(batch), seconds)
        for (job, _), one in zip(batch, looked_at, strict=True):
            self._take(job, one)

    def _take(self, job: _Job, one: Made | Order) -> None:
        with self._changed:
            if isinstance(one, Order):
                job.waiting.append(one)
                return
            job.made[one.order.index] = one
            if len(job.made) == job.images:
                self._end(job, None)

    def _fail(self, jobs: Sequence[_Job], error: Exception) -> None:
        with self._changed:
            for job in jobs:
                self._end(job, error)

    def _end(self, job: _Job, error: Exception | None) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
        job.waiting.clear()
        # false where the client gave up first
        if not job.future.set_running_or_notify_cancel():
            return
        if error is None:
            job.future.set_result(tuple(job.made[index] for index in sorted(job.made)))
        else:
            job.future.set_exception(error)
