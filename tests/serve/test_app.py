"""The endpoints: the official client works unchanged, and every error has OpenAI's shape."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from PIL import Image
from toy_server import Server, toy_make

from evenhand.errors import InputError
from evenhand.records import Settings
from evenhand.serve.app import LARGEST_BODY
from evenhand.serve.keys import add_key, read_keys
from evenhand.serve.order import Order

Serve = Callable[..., Server]
PATH = "/v1/images/generations"
JSON = {"content-type": "application/json"}


def ask(server: Server, body: Any, *, headers: dict[str, str] | None = None) -> httpx.Response:
    async def go() -> httpx.Response:
        async with server.client() as client:
            return await client.post(PATH, json=body, headers=headers)

    return asyncio.run(go())


def get(server: Server, path: str, **headers: str) -> httpx.Response:
    async def go() -> httpx.Response:
        async with server.client() as client:
            return await client.get(path, headers=headers)

    return asyncio.run(go())


def picture(entry: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(entry["b64_json"])))


def openai_client(server: Server, key: str = "none") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=key,
        base_url="http://test/v1",
        http_client=server.client(),
        max_retries=0,  # type: ignore[arg-type]
    )


def test_the_official_client_makes_images(serve: Serve) -> None:
    server = serve(interventions={"calm": {"with": "safe-guidance"}})

    async def go() -> None:
        async with openai_client(server) as client:
            assert [model.id for model in (await client.models.list()).data] == ["toy"]
            made = await client.images.generate(
                model="toy",
                prompt="a nurse",
                n=2,
                size="auto",
                response_format="b64_json",
                extra_body={
                    "seed": 5,
                    "steps": 3,
                    "guidance": 2.0,
                    "negative_prompt": "blur",
                    "interventions": [{"name": "calm"}],
                },
            )
            assert made.data is not None
            assert len(made.data) == 2
            with Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json or ""))) as image:
                assert image.size == (8, 8)
            assert made.data[0].revised_prompt is None
            assert made.data[1].model_extra is not None
            assert made.data[1].model_extra["evenhand"]["seed"] == 6

    asyncio.run(go())


def test_the_official_client_understands_a_refusal(serve: Serve) -> None:
    server = serve(prompt_filter=[{"category": "weapons", "terms": ["rifle"]}])

    async def go() -> openai.BadRequestError:
        async with openai_client(server) as client:
            with pytest.raises(openai.BadRequestError) as error:
                await client.images.generate(prompt="a rifle")
            return error.value

    error = asyncio.run(go())
    assert (error.status_code, error.code) == (400, "moderation_blocked")
    assert error.body["safety_violations"] == ["weapons"]  # type: ignore[index]


def test_every_image_says_what_made_it_and_not_its_prompt(serve: Serve) -> None:
    server = serve(safety=[{"name": "violence", "text": "blood"}], fairness=[{"concept": "gender"}])
    answer = ask(server, {"prompt": "a photo of a nurse"}).json()
    (entry,) = answer["data"]
    text = picture(entry).text  # type: ignore[attr-defined]
    told = json.loads(text["evenhand"])
    assert told["model"] == "toy"
    assert told["policy"] == entry["evenhand"]["policy"] == server.service.parts.policy.label
    assert told["classes"] == entry["evenhand"]["classes"]
    assert set(told["classes"]) == {"gender"}
    assert [one["name"] for one in told["interventions"]] == ["safety:violence", f"gender={told['classes']['gender']}"]
    assert "trainedAlgorithmicMedia" in text["XML:com.adobe.xmp"]
    assert "photo of a nurse" not in str(text)
    assert answer["evenhand"]["policy"] == {"name": "test", "version": 1, "hash": server.service.parts.policy.hash}


def test_shares_hold_over_requests_of_one_image(serve: Serve) -> None:
    server = serve(fairness=[{"concept": "gender"}])
    classes = [
        ask(server, {"prompt": "a photo of a nurse"}).json()["data"][0]["evenhand"]["classes"]["gender"]
        for _ in range(10)
    ]
    assert sorted(classes) == ["female"] * 5 + ["male"] * 5
    assert server.quotas.held() == 0


def test_the_prompt_that_was_used_is_disclosed(serve: Serve) -> None:
    server = serve(fairness=[{"concept": "gender", "method": "prompt-mix"}])
    (entry,) = ask(server, {"prompt": "a nurse"}).json()["data"]
    word = {"female": "woman", "male": "man"}[entry["evenhand"]["classes"]["gender"]]
    assert entry["revised_prompt"] == f"a nurse, {word}"


def test_the_gate_refuses_and_the_quota_gets_its_class_back(serve: Serve) -> None:
    def red(orders: Sequence[Order], settings: Settings, abandoned: Callable[[], bool]) -> list[np.ndarray | None]:
        return [np.full((8, 8, 3), 180, np.uint8) for _ in orders]

    server = serve(make=red, gate={"action": "resample", "tries": 2}, fairness=[{"concept": "gender"}])
    answer = ask(server, {"prompt": "a nurse", "n": 3})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "moderation_blocked")
    assert answer.json()["error"]["safety_violations"] == ["unsafe"]
    assert server.quotas.held() == 0
    with server.state.transaction() as connection:
        (balls,) = connection.execute("SELECT balls FROM urns").fetchone()
    assert sorted(json.loads(balls)) == ["female"] * 5 + ["male"] * 5
    metrics = get(server, "/metrics").text
    assert 'evenhand_refusals_total{category="unsafe",group="none"} 1.0' in metrics


def test_resampled_images_are_safe(serve: Serve) -> None:
    """A quarter of the toy's images is unsafe; with 20 tries none is handed out (.25^20)."""
    server = serve(gate={"action": "resample", "tries": 20})
    answer = ask(server, {"prompt": "a nurse", "n": 10, "seed": 0}).json()
    assert any(entry["evenhand"]["attempt"] for entry in answer["data"])
    assert all(picture(entry).getpixel((0, 0))[0] < 150 for entry in answer["data"])  # type: ignore[index]
    again = ask(server, {"prompt": "a nurse", "n": 10, "seed": 0}).json()
    assert [entry["evenhand"]["seed"] for entry in again["data"]] == [e["evenhand"]["seed"] for e in answer["data"]]


def test_a_gate_that_flags_hands_out(serve: Serve) -> None:
    server = serve(gate={"action": "flag"})
    flags = [entry["evenhand"]["flagged"] for entry in ask(server, {"prompt": "a", "n": 10, "seed": 0}).json()["data"]]
    assert 0 < sum(flags) < 10


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({}, 400, "invalid_value", "prompt"),
        ({"prompt": ""}, 400, "invalid_value", "prompt"),
        ({"prompt": 3}, 400, "invalid_value", "prompt"),
        ({"prompt": "a", "n": 0}, 400, "invalid_value", "n"),
        ({"prompt": "a", "n": 65}, 400, "invalid_value", "n"),
        ({"prompt": "a", "size": "8x8x8"}, 400, "invalid_value", "size"),
        ({"prompt": "a", "size": "1024x1024"}, 400, "invalid_value", "size"),
        ({"prompt": "a", "response_format": "url"}, 400, "invalid_value", "response_format"),
        ({"prompt": "a", "stream": True}, 400, "invalid_value", "stream"),
        ({"prompt": "a", "sead": 3}, 400, "invalid_value", "sead"),
        ({"prompt": "a", "seed": -1}, 400, "invalid_value", "seed"),
        ({"prompt": "a", "image_url": "http://127.0.0.1/"}, 400, "invalid_value", "image_url"),
        ({"prompt": "a", "interventions": [{"name": "/etc/passwd"}]}, 400, "invalid_value", "interventions"),
        ({"prompt": "a", "model": "other"}, 404, "model_not_found", "model"),
        ([1], 400, "invalid_value", None),
        ("text", 400, "invalid_value", None),
    ],
)
def test_what_cannot_be_used_is_told(serve: Serve, body: Any, status: int, code: str, param: str | None) -> None:
    answer = ask(serve(), body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert set(error) >= {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b'{"prompt": "\xff"}', JSON, 400),
        (b'{"prompt": "\\ud800"}', JSON, 400),
        (b'{"prompt": "a", "guidance": NaN}', JSON, 400),
        (b'{"prompt": "a", "guidance": 1e999}', JSON, 400),
        (b"[" * 10_000, JSON, 400),
        (b'{"prompt": "a"}', {"content-type": "text/plain"}, 415),
        (b'{"prompt": "a"}', {}, 415),
        (b'{"prompt": "' + b"a" * LARGEST_BODY + b'"}', JSON, 413),
    ],
)
def test_bodies_that_are_none(serve: Serve, content: bytes, headers: dict[str, str], status: int) -> None:
    server = serve()

    async def go() -> httpx.Response:
        async with server.client() as client:
            return await client.post(PATH, content=content, headers=headers)

    answer = asyncio.run(go())
    assert answer.status_code == status
    assert "error" in answer.json()


def test_a_body_without_a_length_is_bounded_too(serve: Serve) -> None:
    server = serve()

    async def parts() -> Any:
        for _ in range(LARGEST_BODY // 1000 + 2):
            yield b"x" * 1000

    async def go() -> httpx.Response:
        async with server.client() as client:
            return await client.post(PATH, content=parts(), headers=JSON)

    answer = asyncio.run(go())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def test_unknown_paths_and_methods_have_the_same_shape(serve: Serve) -> None:
    server = serve()
    assert get(server, "/v1/nothing").json()["error"]["code"] == "not_found"
    assert get(server, PATH).json()["error"]["code"] == "method_not_allowed"
    assert get(server, "/health").json() == {"status": "ok"}


def test_what_fails_inside_says_nothing_of_the_inside(serve: Serve) -> None:
    def broken(orders: Any, settings: Any, abandoned: Any) -> Any:
        raise RuntimeError("secret path /srv/models")

    server = serve(make=broken, fairness=[{"concept": "gender"}])
    answer = ask(server, {"prompt": "a nurse"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert server.quotas.held() == 0


def test_what_the_model_cannot_follow_is_the_client_s_affair(serve: Serve) -> None:
    def choosy(orders: Any, settings: Any, abandoned: Any) -> Any:
        raise InputError("safe-guidance is inert at guidance 1")

    answer = ask(serve(make=choosy), {"prompt": "a nurse", "guidance": 1})
    assert answer.status_code == 400
    assert "inert at guidance 1" in answer.json()["error"]["message"]


def test_a_model_without_a_picture(serve: Serve) -> None:
    answer = ask(serve(make=lambda orders, settings, abandoned: [None] * len(orders)), {"prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "no_image")


class Slow:
    """Holds every batch until it is let go, or nobody waits."""

    def __init__(self) -> None:
        self.go, self.entered, self.abandoned = threading.Event(), threading.Event(), threading.Event()

    def __call__(self, orders: Sequence[Order], settings: Settings, abandoned: Callable[[], bool]) -> Any:
        self.entered.set()
        while not self.go.wait(0.005):
            if abandoned():
                self.abandoned.set()
                break
        return toy_make(orders, settings, abandoned)


def test_a_full_queue_says_when_to_come_back(serve: Serve) -> None:
    slow = Slow()
    server = serve(make=slow, limits={"queue": 1})

    async def go() -> httpx.Response:
        async with server.client() as client:
            first = asyncio.create_task(client.post(PATH, json={"prompt": "a"}))
            await asyncio.to_thread(slow.entered.wait, 5)
            second = asyncio.create_task(client.post(PATH, json={"prompt": "a"}))
            await asyncio.sleep(0.05)
            third = await client.post(PATH, json={"prompt": "a"})
            slow.go.set()
            assert [(await one).status_code for one in (first, second)] == [200, 200]
            return third

    answer = asyncio.run(go())
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_deadline_is_kept(serve: Serve) -> None:
    slow = Slow()
    server = serve(make=slow, limits={"deadline_seconds": 0.1}, fairness=[{"concept": "gender"}])
    start = time.monotonic()
    answer = ask(server, {"prompt": "a nurse"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - start < 2
    assert slow.abandoned.wait(5)
    assert server.quotas.held() == 0


def test_a_client_that_goes_away_gives_its_images_up(serve: Serve) -> None:
    slow = Slow()
    server = serve(make=slow, fairness=[{"concept": "gender"}])
    sent: list[Any] = []

    async def go() -> None:
        body = [{"type": "http.request", "body": b'{"prompt": "a nurse"}', "more_body": False}]

        async def receive() -> Any:
            if body:
                return body.pop()
            await asyncio.to_thread(slow.entered.wait, 5)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": PATH, "headers": headers, "query_string": b""}
        await server.app({**scope, "http_version": "1.1", "scheme": "http", "server": ("t", 80)}, receive, send)

    asyncio.run(go())
    assert slow.abandoned.wait(5)
    assert server.quotas.held() == 0
    assert 'status="499"' in get(server, "/metrics").text


def test_keys_are_asked_for(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    token, watcher = add_key(path, "team-a", requests_per_minute=2), add_key(path, "prometheus", watches=True)
    server = serve(keys=read_keys(path))
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Basic {token}"}):
        answer = ask(server, {"prompt": "a"}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    good = {"authorization": f"Bearer {token}"}
    assert [ask(server, {"prompt": "a"}, headers=good).status_code for _ in range(3)] == [200, 200, 429]
    assert get(server, "/v1/models", **good).status_code == 200
    for path_of in ("/v1/audit", "/metrics"):
        assert get(server, path_of).status_code == 401
        assert get(server, path_of, **good).json()["error"]["code"] == "insufficient_permissions"
        assert get(server, path_of, authorization=f"Bearer {watcher}").status_code == 200
    assert {line["tenant"] for line in server.log.lines()} == {"team-a"}


def test_the_audit_counts_what_was_handed_out(serve: Serve) -> None:
    server = serve(fairness=[{"concept": "gender"}])
    for _ in range(2):
        ask(server, {"prompt": "a photo of a nurse", "n": 10})
    told = get(server, "/v1/audit").json()
    success = [one for one in told["estimates"] if one["metric"] == "success"]
    assert [(one["class"], one["n"], one["value"]) for one in success] == [("female", 10, 1.0), ("male", 10, 1.0)]
    assert all(one["low"] <= one["value"] <= one["high"] for one in told["estimates"])
    assert told["mean_images_to_false_alarm"] == 1e5


def test_the_metrics_say_what_happens(serve: Serve) -> None:
    server = serve(prompt_filter=[{"category": "weapons", "terms": ["rifle"]}])
    ask(server, {"prompt": "a nurse", "n": 4})
    ask(server, {"prompt": "a woman with a rifle"})
    text = get(server, "/metrics").text
    for line in (
        'evenhand_requests_total{group="none",status="200"} 1.0',
        'evenhand_requests_total{group="gender=female",status="400"} 1.0',
        'evenhand_refusals_total{category="weapons",group="gender=female"} 1.0',
        'evenhand_images_total{flagged="false"} 4.0',
        "evenhand_batch_rows_sum 4.0",
        "evenhand_queue_images 0.0",
        "evenhand_request_seconds_count 2.0",
    ):
        assert line in text


def test_the_log_holds_no_prompt_unless_asked(serve: Serve, tmp_path: Path) -> None:
    silent, telling = serve(folder=tmp_path), serve(log={"prompts": True})
    for server in (silent, telling):
        ask(server, {"prompt": "a very private nurse", "seed": 3})
    assert "private" not in str(silent.log.lines())
    assert silent.log.lines()[0]["seed"] == 3
    assert telling.log.lines()[0]["prompt"] == "a very private nurse"
    files = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert b"private" not in files
