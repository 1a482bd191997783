"""Listening on a real socket: the official client, a restart after a kill, and a graceful end."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from toy_server import Server, toy_make

from evenhand.serve.order import Order
from evenhand.serve.run import listen

Serve = Callable[..., Server]


def while_listening(server: Server, work: Callable[[str], None]) -> None:
    """Serve in this thread, work in another one, and end with a SIGTERM; what the work raises is raised here."""
    failures: list[BaseException] = []
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"

        def other() -> None:
            try:
                for _ in range(500):
                    with contextlib.suppress(httpx.HTTPError):
                        if httpx.get(f"{url}/health", trust_env=False).status_code == 200:
                            break
                    time.sleep(0.01)
                work(url)
            except BaseException as error:
                failures.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        thread = threading.Thread(target=other)
        thread.start()
        listen(server.app, [bound])
        thread.join(10)
    if failures:
        raise failures[0]


def test_the_official_client_over_a_socket(serve: Serve) -> None:
    def work(url: str) -> None:
        with (
            httpx.Client(trust_env=False) as http,
            openai.OpenAI(api_key="none", base_url=f"{url}/v1", http_client=http) as client,
        ):
            made = client.images.generate(prompt="a nurse", n=3, extra_body={"seed": 1})
            assert made.data is not None
            assert len(made.data) == 3

    while_listening(serve(), work)


def test_a_sigterm_finishes_what_was_accepted(serve: Serve) -> None:
    """The request is in the engine when the signal comes; new connections are refused, the answer still arrives."""
    go, entered = threading.Event(), threading.Event()

    def slow(orders: Sequence[Order], settings: Any, abandoned: Callable[[], bool]) -> Any:
        entered.set()
        go.wait(10)
        return toy_make(orders, settings, abandoned)

    answers: list[httpx.Response] = []

    def ask(url: str) -> None:
        answers.append(httpx.post(f"{url}/v1/images/generations", json={"prompt": "a"}, trust_env=False, timeout=10))

    def work(url: str) -> None:
        asking = threading.Thread(target=ask, args=(url,))
        asking.start()
        assert entered.wait(10)
        os.kill(os.getpid(), signal.SIGTERM)
        refused = False
        for _ in range(500):
            try:
                httpx.get(f"{url}/health", trust_env=False, timeout=1)
            except httpx.HTTPError:
                refused = True
                break
            time.sleep(0.01)
        assert refused
        assert answers == []
        go.set()
        asking.join(10)
        assert [one.status_code for one in answers] == [200]

    while_listening(serve(make=slow), work)


def test_a_client_that_hangs_up_gives_its_images_up(serve: Serve) -> None:
    entered, abandoned_by_all = threading.Event(), threading.Event()

    def slow(orders: Sequence[Order], settings: Any, abandoned: Callable[[], bool]) -> Any:
        entered.set()
        for _ in range(1000):
            if abandoned():
                abandoned_by_all.set()
                break
            time.sleep(0.005)
        return toy_make(orders, settings, abandoned)

    server = serve(make=slow, fairness=[{"concept": "gender"}])

    def work(url: str) -> None:
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{url}/v1/images/generations", json={"prompt": "a nurse"}, trust_env=False, timeout=0.3)
        assert entered.is_set()
        assert abandoned_by_all.wait(5)
        for _ in range(100):
            if server.quotas.held() == 0:
                return
            time.sleep(0.01)
        raise AssertionError("the quota did not get its class back")

    while_listening(server, work)


def test_mixed_clients_at_once_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    """Valid, invalid and refused requests from six threads: each gets its answer, and the ledger is settled."""
    server = serve(
        folder=tmp_path,
        fairness=[{"concept": "gender"}],
        prompt_filter=[{"category": "weapons", "terms": ["rifle"]}],
        limits={"queue": 1000},
    )
    bodies = [({"prompt": "a nurse", "n": 2}, 200), ({"prompt": "a rifle"}, 400), ({"prompt": "a", "n": 99}, 400)]
    seen: list[tuple[int, int]] = []

    def work(url: str) -> None:
        def client(number: int) -> None:
            with httpx.Client(base_url=url, trust_env=False, timeout=20) as http:
                for turn in range(10):
                    body, status = bodies[(number + turn) % 3]
                    seen.append((http.post("/v1/images/generations", json=body).status_code, status))

        threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

    while_listening(server, work)
    assert len(seen) == 60
    assert all(got == wanted for got, wanted in seen)
