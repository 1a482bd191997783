"""All of torch's work of a server or a studio is done in one thread."""

from __future__ import annotations

import threading

import pytest

from evenhand.verbs.model_thread import ModelThread


def test_everybody_is_served_by_one_thread_in_order() -> None:
    one, seen = ModelThread(), list[int]()
    names = {one.do(lambda: threading.current_thread().name) for _ in range(3)}
    askers = [threading.Thread(target=lambda k=k: one.do(lambda: seen.append(k))) for k in range(5)]
    for asker in askers:
        asker.start()
        asker.join()
    assert names == {"evenhand-model"}
    assert seen == [0, 1, 2, 3, 4]


def test_work_inside_work_is_done_at_once() -> None:
    one = ModelThread()
    assert one.do(lambda: one.do(lambda: 1) + 1) == 2


def test_what_the_work_raises_is_raised_and_the_next_work_is_done() -> None:
    one = ModelThread()
    with pytest.raises(ZeroDivisionError):
        one.do(lambda: 1 / 0)
    assert one.do(lambda: 2) == 2


def test_the_thread_ends_with_the_object() -> None:
    one = ModelThread()
    thread = one._thread
    del one
    thread.join(10)
    assert not thread.is_alive()


def test_closing_finishes_what_was_given() -> None:
    one, done = ModelThread(), threading.Event()
    one.do(done.set)
    one.close()
    assert done.is_set()
    assert not one._thread.is_alive()
