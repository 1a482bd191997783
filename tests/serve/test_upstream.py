"""The proxy: the same policy in front of another server."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from toy_server import Server, ToyJudge, policy_of, toy_make

from evenhand.concepts.library import load_concept
from evenhand.errors import InputError
from evenhand.records import Settings
from evenhand.serve.inspection import Inspector
from evenhand.serve.keys import NOBODY
from evenhand.serve.planner import Abilities, Planner
from evenhand.serve.quotas import Quotas
from evenhand.serve.refusals import Refusal
from evenhand.serve.state import State
from evenhand.serve.upstream import UpstreamBackend, check_proxied, check_upstream
from evenhand.serve.wire import ImageRequest

MIX = {"fairness": [{"concept": "gender", "method": "prompt-mix"}]}


def png(grey: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


class Upstream:
    """Another server; it remembers what it was asked for."""

    def __init__(self, answer: Callable[[dict[str, Any]], httpx.Response] | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answer = answer or (
            lambda body: httpx.Response(200, json={"data": [{"b64_json": png(20)}] * body["n"], "created": 1})
        )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/images/generations"
        self.asked.append(json.loads(request.content))
        return self.answer(self.asked[-1])


def make(upstream: Upstream, prompt: str = "a nurse", n: int = 1, queue: int = 64, **fields: Any) -> Any:
    policy = policy_of(**fields)
    inspector = Inspector(
        gate=policy.gate, gate_concept=load_concept("unsafe") if policy.gate else None, gate_judge=ToyJudge()
    )

    async def go() -> Any:
        with State(None) as state:
            abilities = Abilities(settings=Settings(), size=None, checks=lambda one: None, own_fields=False)
            plan = Planner(policy, Quotas(state), abilities).plan(ImageRequest(prompt=prompt, n=n), NOBODY)
            transport = httpx.MockTransport(upstream)
            async with httpx.AsyncClient(transport=transport, base_url="http://upstream/v1") as client:
                backend = UpstreamBackend(client, "flux", inspector, queue)
                try:
                    return await backend.make(plan, 1e9)
                finally:
                    backend.close()

    return asyncio.run(go())


def test_attributes_are_mixed_to_the_target_by_the_prompt() -> None:
    """Ten images of a subject: five prompts of each class, asked for in two calls."""
    upstream = Upstream()
    made = make(upstream, n=10, **MIX)
    assert Counter(one.order.prompt for one in made) == {"a nurse, woman": 5, "a nurse, man": 5}
    assert sorted((body["prompt"], body["n"]) for body in upstream.asked) == [
        ("a nurse, man", 5),
        ("a nurse, woman", 5),
    ]
    assert {body["model"] for body in upstream.asked} == {"flux"}
    assert [one.order.index for one in made] == list(range(10))


def test_unsafe_images_are_asked_for_again() -> None:
    greys = iter([180, 180, 20])
    upstream = Upstream(lambda body: httpx.Response(200, json={"data": [{"b64_json": png(next(greys))}]}))
    (one,) = make(upstream, gate={"action": "resample", "tries": 3})
    assert (one.order.attempt, one.refused, len(upstream.asked)) == (2, False, 3)


def test_a_prompt_that_the_other_server_changed_is_disclosed() -> None:
    upstream = Upstream(
        lambda body: httpx.Response(200, json={"data": [{"b64_json": png(20), "revised_prompt": "a kind nurse"}]})
    )
    assert make(upstream)[0].revised == "a kind nurse"


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (httpx.Response(400, json={"error": {"code": "moderation_blocked"}}), 400, "moderation_blocked"),
        (httpx.Response(400, json={"error": {"code": "content_policy_violation"}}), 400, "moderation_blocked"),
        (httpx.Response(400, json={"error": {"code": "other"}}), 502, "upstream_error"),
        (httpx.Response(429, json={}, headers={"retry-after": "7"}), 429, "rate_limit_exceeded"),
        (httpx.Response(401, json={}), 502, "upstream_error"),
        (httpx.Response(302, json={}, headers={"location": "http://elsewhere/"}), 502, "upstream_error"),
        (httpx.Response(200, text="<html>"), 502, "upstream_error"),
        (httpx.Response(200, json=[1]), 502, "upstream_error"),
        (httpx.Response(200, json={"data": []}), 502, "upstream_error"),
        (httpx.Response(200, json={"data": [{"url": "http://127.0.0.1/x.png"}]}), 502, "upstream_error"),
        (httpx.Response(200, json={"data": [{"b64_json": "!!"}]}), 502, "upstream_error"),
        (httpx.Response(200, json={"data": [{"b64_json": "bm8gaW1hZ2U="}]}), 502, "upstream_error"),
        (httpx.Response(200, json={"data": ["x"]}), 502, "upstream_error"),
    ],
)
def test_answers_that_are_no_images(answer: httpx.Response, status: int, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        make(Upstream(lambda body: answer))
    assert (refusal.value.status, refusal.value.code) == (status, code)
    if status == 429:
        assert refusal.value.headers() == {"Retry-After": "7"}


@pytest.mark.parametrize("broken", [httpx.ConnectError("no"), httpx.ReadTimeout("late")])
def test_a_server_that_is_away(broken: httpx.HTTPError) -> None:
    def answer(body: Any) -> httpx.Response:
        raise broken

    with pytest.raises(Refusal) as refusal:
        make(Upstream(answer))
    assert refusal.value.status == (504 if isinstance(broken, httpx.TimeoutException) else 502)


def test_this_server_stands_in_front_of_another_one_of_its_kind(serve: Callable[..., Server]) -> None:
    """The inner server is a real application; the outer one asks it over HTTP in memory."""
    inner = serve(make=toy_make)
    policy = policy_of(**MIX)

    async def go() -> Any:
        with State(None) as state:
            abilities = Abilities(settings=Settings(), size=None, checks=lambda one: None, own_fields=False)
            plan = Planner(policy, Quotas(state), abilities).plan(ImageRequest(prompt="a nurse", n=4), NOBODY)
            transport = httpx.ASGITransport(inner.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://inner/v1") as client:
                backend = UpstreamBackend(client, "toy", Inspector(), 64)
                try:
                    return await backend.make(plan, 1e9)
                finally:
                    backend.close()

    made = asyncio.run(go())
    assert [one.image.shape for one in made] == [(8, 8, 3)] * 4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"safety": [{"name": "violence"}]}, "safety"),
        ({"interventions": {"calm": {"with": "sega"}}}, "interventions"),
        ({"fairness": [{"concept": "gender"}]}, 'method = "prompt-mix"'),
    ],
)
def test_what_needs_the_inside_of_a_model_cannot_hold(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_proxied(policy_of(**fields))
    check_proxied(policy_of(**MIX, gate={}, prompt_filter=[{"category": "x", "terms": ["y"]}]))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "http://127.0.0.1:9000/", "http://127.0.0.1:9000/v1/"])
def test_the_base_url_ends_with_the_version(url: str) -> None:
    assert check_upstream(url) == "http://127.0.0.1:9000/v1"


@pytest.mark.parametrize("url", ["ftp://x/v1", "nonsense", "http://", "http://user:secret@x/v1", "http://x/v1?key=1"])
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(InputError, match="expected a base URL"):
        check_upstream(url)
