"""Another OpenAI-compatible server as the maker of images: the policy stands in front of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
import json
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
from PIL import Image

from ..errors import InputError
from .engine import Full, Inspect
from .order import Made, Order
from .planner import Plan
from .policy import PROMPT_MIX, Policy
from .refusals import Refusal, blocked

_LARGEST_ANSWER = 256 * 1024 * 1024
_MOST_PIXELS = 64 * 1024 * 1024
_MODERATED = ("moderation_blocked", "content_policy_violation")


def check_proxied(policy: Policy) -> None:
    """Raises InputError for what needs the inside of a model."""
    if policy.safety:
        raise InputError("the policy cannot hold on --upstream: [[safety]] works inside a model; use the image gate")
    if policy.interventions:
        raise InputError("the policy cannot hold on --upstream: [interventions] work inside a model; take them out")
    for rule in policy.fairness:
        if rule.method != PROMPT_MIX:
            raise InputError(
                f"the policy cannot hold on --upstream: fairness of {rule.concept} by {rule.method} works inside a "
                f'model; set method = "{PROMPT_MIX}"'
            )


def check_upstream(url: str) -> str:
    """The URL without a slash at its end, up to and with /v1. Raises: InputError for one that cannot be used."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"--upstream {url}: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo or parsed.query:
        raise InputError(f"--upstream {url}: expected a base URL such as http://127.0.0.1:9000/v1")
    plain = str(parsed).rstrip("/")
    return plain if plain.endswith("/v1") else f"{plain}/v1"


class UpstreamBackend:
    """Asks the other server; images of one prompt are asked for together.

    Only images in the answer are taken: a URL in it is not followed.

    Args:
        client: with the base URL, the key and the timeouts.
        model: what is asked for; None leaves it to the other server.
        inspect: looks at images, in a thread of its own.
        queue: images that may be asked for at once.
    """

    def __init__(self, client: httpx.AsyncClient, model: str | None, inspect: Inspect, queue: int) -> None:
        self._client, self._model, self._inspect, self._queue = client, model, inspect, queue
        self._asked = 0
        self._judging = ThreadPoolExecutor(1, "evenhand-judge")

    async def make(self, plan: Plan, deadline: float) -> Sequence[Made]:
        """The images in order, made again where the gate asks for it."""
        size = None if plan.settings.width is None else f"{plan.settings.width}x{plan.settings.height}"
        if self._asked and self._asked + len(plan.orders) > self._queue:
            raise Full(1.0)
        self._asked += len(plan.orders)
        try:
            todo, made = list(plan.orders), {}
            while todo:
                fresh = await self._all(todo, size)
                looked_at = await asyncio.get_running_loop().run_in_executor(self._judging, self._inspect, fresh)
                todo = [one for one in looked_at if isinstance(one, Order)]
                made |= {one.order.index: one for one in looked_at if isinstance(one, Made)}
        finally:
            self._asked -= len(plan.orders)
        return [made[order.index] for order in plan.orders]

    def close(self) -> None:
        """End the judge's thread."""
        self._judging.shutdown()

    async def _all(self, orders: Sequence[Order], size: str | None) -> list[Made]:
        by_prompt: dict[str, list[Order]] = {}
        for order in orders:
            by_prompt.setdefault(order.prompt, []).append(order)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._group(prompt, some, size)) for prompt, some in by_prompt.items()]
        except BaseExceptionGroup as failed:  # the first one says it; the others were called off
            raise failed.exceptions[0] from None
        return [one for task in tasks for one in task.result()]

    async def _group(self, prompt: str, orders: Sequence[Order], size: str | None) -> list[Made]:
        body = {"prompt": prompt, "n": len(orders), "model": self._model, "size": size}
        answer = await self._post({name: value for name, value in body.items() if value is not None})
        entries = answer.get("data")
        if not isinstance(entries, list) or len(entries) != len(orders):
            raise _broken(f"{len(orders)} images were asked for, and the answer has another number")
        return [
            Made(order=order, image=_image(entry), revised=_text(entry, "revised_prompt"))
            for order, entry in zip(orders, entries, strict=True)
        ]

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self._client.stream("POST", "/images/generations", json=body) as response:
                data = b""
                async for part in response.aiter_bytes():
                    data += part
                    if len(data) > _LARGEST_ANSWER:
                        raise _broken("the answer is too large")
        except httpx.TimeoutException:
            raise Refusal(504, "deadline_exceeded", "the server behind this one did not answer in time") from None
        except httpx.HTTPError:
            raise _broken("it cannot be reached") from None
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise _broken("its answer is no JSON object")
        if response.status_code != 200:
            raise _refusal(response, answer)
        return answer


def _refusal(response: httpx.Response, answer: dict[str, Any]) -> Refusal:
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if response.status_code == 400 and code in _MODERATED:
        return blocked("the server behind this one refused the prompt", "upstream")
    if response.status_code == 429:
        wait = response.headers.get("retry-after", "")
        seconds = float(wait) if wait.isascii() and wait.isdecimal() and len(wait) < 6 else 5.0
        return Refusal(429, "rate_limit_exceeded", "the server behind this one is busy", retry_after=seconds)
    return _broken(f"it answered with status {response.status_code}")


def _broken(reason: str) -> Refusal:
    return Refusal(502, "upstream_error", f"the server behind this one failed: {reason}")


def _text(entry: Any, name: str) -> str | None:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None


def _image(entry: Any) -> np.ndarray:
    text = _text(entry, "b64_json")
    if text is None:
        raise _broken("it gave no b64_json; a URL is not followed")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise _broken("an image is too large")
                return np.asarray(image.convert("RGB"))
    except (binascii.Error, OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning):
        raise _broken("what it gave is no image") from None
