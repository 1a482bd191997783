"""One thread that does all of torch's work of a process that answers others meanwhile.

OpenMP keeps a team of workers for every thread that computes. With more workers than cores libgomp lets them sleep at
each of the many barriers of a denoising step: a batch that takes 2.3 s in the first thread that computes took 3.4 to
4.3 s in a second one (two cores). So whatever loads, fits, makes images and judges does it here, one after the other.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
_Task = tuple[Future[Any], Callable[[], Any]] | None


class ModelThread:
    """Does what it is given in one thread, in order; the thread ends with this object."""

    def __init__(self) -> None:
        tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        # a daemon: who interrupts a fit does not wait for its end
        self._thread = threading.Thread(target=_work, args=(tasks,), name="evenhand-model", daemon=True)
        self._tasks = tasks
        self._thread.start()
        self._end = weakref.finalize(self, tasks.put, None)

    def do(self, work: Callable[[], T]) -> T:
        """The result of `work`; inside the thread itself it is done at once. Raises: what it raises."""
        if threading.current_thread() is self._thread:
            return work()
        future: Future[T] = Future()
        self._tasks.put((future, work))
        return future.result()

    def close(self) -> None:
        """Finish what was given, and end the thread."""
        self._end()
        self._thread.join()


def _work(tasks: queue.SimpleQueue[_Task]) -> None:
    while (task := tasks.get()) is not None:
        future, work = task
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        del task, future, work  # what a result holds must not wait for the next task
