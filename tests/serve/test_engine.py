"""The engine: requests share batches, and what is wrong with one is its own affair."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from evenhand.records import Settings
from evenhand.serve.engine import Abandoned, Closed, Engine, Full, Late
from evenhand.serve.inspection import another
from evenhand.serve.order import Made, Order

FAR = 1e9
SETTINGS = Settings(steps=2)


def orders(count: int, first: int = 0, prompt: str = "a nurse") -> list[Order]:
    return [Order(row=prompt, prompt=prompt, index=index, seed=first + index) for index in range(count)]


class Maker:
    """Makes a picture whose grey is the seed; it can be held at a gate, and breaks at a prompt."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)

    def __call__(
        self, some: Sequence[Order], settings: Settings, abandoned: Callable[[], bool]
    ) -> list[np.ndarray | None]:
        self.batches.append([order.seed for order in some])
        self.entered.release()
        while not self.gate.wait(0.005):
            if abandoned():
                raise Abandoned
        if any(order.prompt == "broken" for order in some):
            raise RuntimeError("boom")
        return [np.full((2, 2, 3), order.seed % 250, np.uint8) for order in some]


def keep(made: Sequence[Made]) -> list[Made | Order]:
    return list(made)


@pytest.fixture
def maker() -> Maker:
    return Maker()


def test_images_come_in_order(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=4, queue=100)
    made = engine.submit(orders(10, first=5), SETTINGS, FAR).result(5)
    engine.close()
    assert [one.order.seed for one in made] == list(range(5, 15))
    assert [len(batch) for batch in maker.batches] == [4, 4, 2]
    assert [one.rows for one in made] == [4] * 8 + [2] * 2


def held(maker: Maker, engine: Engine) -> None:
    """One request is being made, and stays so until the gate opens."""
    maker.gate.clear()
    engine.submit(orders(1, first=200), SETTINGS, FAR)
    maker.entered.acquire()


def test_waiting_requests_share_a_batch_where_their_settings_agree(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=8, queue=100)
    held(maker, engine)
    other = Settings(steps=3)
    futures = [
        engine.submit(orders(2, first=10), SETTINGS, FAR),
        engine.submit(orders(1, first=20), other, FAR),
        engine.submit(orders(3, first=30, prompt="a cook"), SETTINGS, FAR),
    ]
    maker.gate.set()
    for future in futures:
        future.result(5)
    engine.close()
    assert maker.batches[1:] == [[10, 11, 30, 31, 32], [20]]


def test_a_broken_request_fails_alone(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=8, queue=100)
    held(maker, engine)
    good = engine.submit(orders(1, first=1), SETTINGS, FAR)
    bad = engine.submit(orders(1, first=2, prompt="broken"), SETTINGS, FAR)
    also_good = engine.submit(orders(1, first=3), SETTINGS, FAR)
    maker.gate.set()
    assert good.result(5)[0].order.seed == 1
    assert also_good.result(5)[0].order.seed == 3
    with pytest.raises(RuntimeError, match="boom"):
        bad.result(5)
    engine.close()
    assert maker.batches[1:] == [[1, 2, 3], [1], [2], [3]]


def test_a_full_queue_is_told_with_a_time(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=2, queue=3)
    held(maker, engine)
    future = engine.submit(orders(3, first=10), SETTINGS, FAR)
    with pytest.raises(Full) as full:
        engine.submit(orders(1), SETTINGS, FAR)
    assert full.value.seconds >= 1
    maker.gate.set()
    future.result(5)
    engine.submit(orders(1), SETTINGS, FAR).result(5)
    engine.close()


def test_a_request_larger_than_the_queue_is_taken_when_nobody_waits(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=2, queue=1)
    assert len(engine.submit(orders(5), SETTINGS, FAR).result(5)) == 5
    engine.close()


def test_what_was_given_up_is_not_made(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=2, queue=100)
    held(maker, engine)
    future = engine.submit(orders(2, first=10), SETTINGS, FAR)
    kept = engine.submit(orders(1, first=20), SETTINGS, FAR)
    assert future.cancel()
    maker.gate.set()
    kept.result(5)
    engine.close()
    assert maker.batches == [[200], [20]]


def test_a_batch_that_nobody_waits_for_is_broken_off(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=2, queue=100)
    maker.gate.clear()
    future = engine.submit(orders(1), SETTINGS, FAR)
    maker.entered.acquire()
    future.cancel()
    later = engine.submit(orders(1, first=9), SETTINGS, FAR)
    maker.entered.acquire()  # the second batch began, though the first was never let through
    maker.gate.set()
    assert later.result(5)[0].order.seed == 9
    engine.close()


def test_a_deadline_that_passed_in_the_queue(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=2, queue=100)
    held(maker, engine)
    future = engine.submit(orders(1), SETTINGS, time.monotonic() - 1)
    maker.gate.set()
    with pytest.raises(Late):
        future.result(5)
    engine.close()
    assert maker.batches == [[200]]


def test_closing_finishes_what_waits_and_takes_nothing_more(maker: Maker) -> None:
    engine = Engine(maker, keep, batch_size=2, queue=100)
    held(maker, engine)
    futures = [engine.submit(orders(2, first=10 * turn), SETTINGS, FAR) for turn in range(3)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    while True:
        try:
            engine.submit(orders(1), SETTINGS, FAR).cancel()
        except Closed:
            break
        time.sleep(0.001)
    maker.gate.set()
    closing.join(5)
    assert not closing.is_alive()
    assert all(len(future.result(0)) == 2 for future in futures)


def test_an_image_is_made_again_where_the_inspection_asks_for_it(maker: Maker) -> None:
    def twice(made: Sequence[Made]) -> list[Made | Order]:
        return [another(one.order) if one.order.attempt < 2 and one.order.index == 1 else one for one in made]

    engine = Engine(maker, twice, batch_size=4, queue=100)
    made = engine.submit(orders(3), SETTINGS, FAR).result(5)
    engine.close()
    assert [one.order.attempt for one in made] == [0, 2, 0]
    assert [len(batch) for batch in maker.batches] == [3, 1, 1]
    assert made[1].order.seed not in (0, 1, 2)


def test_many_clients_at_once(maker: Maker) -> None:
    """Sixteen threads, each waiting for its image before it asks again: nothing is lost, nothing mixed up."""
    engine = Engine(maker, keep, batch_size=16, queue=1000)
    wrong: list[int] = []

    def client(number: int) -> None:
        for turn in range(20):
            seed = 100 * number + turn
            (one,) = engine.submit(orders(1, first=seed), SETTINGS, FAR).result(10)
            if one.image is None or one.order.seed != seed or int(one.image[0, 0, 0]) != seed % 250:
                wrong.append(seed)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    engine.close()
    assert wrong == []
    assert sorted(seed for batch in maker.batches for seed in batch) == sorted(
        100 * number + turn for number in range(16) for turn in range(20)
    )
