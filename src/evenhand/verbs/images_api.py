"""An OpenAI-compatible image endpoint as a client sees it: one picture per request, patient, and careful with the key.

The request is `POST BASE/images/generations` with model, prompt and n = 1; the answer holds base64 or a URL. A request
that is blocked (code `moderation_blocked` or `content_policy_violation`) is an answer too: a refusal. The key travels
in the Authorization header to the endpoint's own host alone, and is cut out of everything that is said about a failure.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import email.utils
import json
import random
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from ..errors import EndpointError, InputError

REFUSALS = ("moderation_blocked", "content_policy_violation")
ATTEMPTS = 8
LONGEST_WAIT = 300.0
"""Seconds that an endpoint may ask to wait; if it asks for more, the run stops and can be continued later."""
FIRST_WAIT = 0.5
"""Seconds before the second attempt where the endpoint does not say; doubled with every further one."""
_TIMEOUT = httpx2.Timeout(300.0, connect=20.0)
_MOST_BYTES = 64 * 2**20
_EXHAUSTED = ("insufficient_quota", "billing_hard_limit_reached")
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What an endpoint gave: `data` is an image file, None where it refused; `cost` what it says that it cost."""

    data: bytes | None = None
    refused: str | None = None
    revised_prompt: str | None = None
    cost: float | None = None


class UndeliveredError(EndpointError):
    """A picture that was made but could not be fetched from where the answer points; it has to be paid all the same.

    Attributes:
        cost: what the endpoint says that it cost, None where it does not say.
    """

    def __init__(self, message: str, cost: float | None) -> None:
        super().__init__(message)
        self.cost = cost


class ImagesApi:
    """A client of one endpoint and model; use it in an `async with` block.

    Args:
        base: URL without a trailing slash, such as https://api.openai.com/v1.
        model: its name there.
        key: sent as a bearer token; None for none.
        extra: more fields of every request.
        concurrency: requests at a time.
    """

    def __init__(self, base: str, model: str, key: str | None, extra: Mapping[str, Any], *, concurrency: int) -> None:
        self._url, self._base, self._key = f"{base}/images/generations", base, key
        self._body = {"model": model, "n": 1, **extra}
        self._room = asyncio.Semaphore(concurrency)
        limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT, limits=limits, follow_redirects=False)
        self._not_before = 0.0

    async def __aenter__(self) -> ImagesApi:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def image(self, prompt: str, seed: int | None = None) -> Answer:
        """One picture of a prompt; failures that may pass are tried again, up to 8 times, ever more slowly.

        Raises: InputError for a request that will never be answered (key, model, path, parameter); EndpointError when
            it stays unreachable, asks to wait for too long, or its quota is used up; UndeliveredError when a picture
            was made and cannot be fetched.
        """
        body = {**self._body, "prompt": prompt, **({} if seed is None else {"seed": seed})}
        problem = ""
        async with self._room:
            for attempt in range(ATTEMPTS):
                await self._wait()
                try:
                    status, headers, data = await self._post(body)
                except httpx2.RequestError as error:
                    problem = f"{type(error).__name__} {self._clean(str(error))}".strip()
                    self._pause(_backoff(attempt), None)
                    continue
                if status == 200:
                    return await self._answer(data)
                answer, problem = self._failed(status, headers, data)
                if answer is not None:
                    return answer
                self._pause(_backoff(attempt), headers.get("retry-after"))
        raise EndpointError(
            f"{self._base} failed {ATTEMPTS} times ({problem}); what is done stays: run the same command again"
        )

    async def _post(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        headers = {} if self._key is None else {"Authorization": f"Bearer {self._key}"}
        async with self._client.stream("POST", self._url, json=dict(body), headers=headers) as response:
            return response.status_code, response.headers, await self._read(response)

    async def _read(self, response: httpx2.Response) -> bytes:
        data = bytearray()
        async for chunk in response.aiter_bytes():
            data += chunk
            if len(data) > _MOST_BYTES:
                raise EndpointError(f"{self._base} answers with more than {_MOST_BYTES:,} bytes for one picture")
        return bytes(data)

    async def _answer(self, data: bytes) -> Answer:
        try:
            found = json.loads(data)
            one = found["data"][0]
            usage = found.get("usage") or {}
            cost = None if usage.get("cost") is None else float(usage["cost"])
            revised = one.get("revised_prompt")
            encoded, url = one.get("b64_json"), one.get("url")
            picture = base64.b64decode(encoded, validate=True) if encoded else await self._download(str(url), cost)
        except (
            ValueError, KeyError, IndexError, TypeError, AttributeError, binascii.Error, httpx2.InvalidURL
        ) as error:  # fmt: skip
            raise EndpointError(
                f"{self._base} answers with something that is no list of images ({type(error).__name__}); "
                "expected data[0].b64_json or data[0].url"
            ) from error
        return Answer(data=picture, revised_prompt=revised, cost=cost)

    async def _download(self, url: str, cost: float | None) -> bytes:
        """A picture that the answer points to, as patiently as it was asked for; the key is not sent there."""
        if not url.startswith(("http://", "https://")):
            raise ValueError(url)
        problem = ""
        try:
            for attempt in range(ATTEMPTS):
                await self._wait()
                asked = None
                try:
                    async with self._client.stream("GET", url) as response:
                        if response.status_code == 200:
                            return await self._read(response)
                        problem, asked = f"HTTP {response.status_code}", response.headers.get("retry-after")
                        if response.status_code not in _AGAIN:
                            break
                except httpx2.RequestError as error:
                    problem = type(error).__name__  # its text may name the URL, which may hold a secret
                self._pause(_backoff(attempt), asked)
        except EndpointError as error:
            raise UndeliveredError(str(error), cost) from error
        raise UndeliveredError(
            f"{self._base} points to a picture that cannot be had ({problem}); what is done stays: "
            "run the same command again",
            cost,
        )

    def _failed(self, status: int, headers: Mapping[str, str], data: bytes) -> tuple[Answer | None, str]:
        """A refusal as an answer, or why to try again; raises where trying again is of no use."""
        code, message = _problem(data)
        said = f"HTTP {status}{f', {self._clean(message)}' if message else ''}"
        if 400 <= status < 500 and code in REFUSALS:
            return Answer(refused=code), said
        if code in _EXHAUSTED:
            raise EndpointError(f"{self._base}: the quota is used up ({code}); what is done stays")
        if status in _AGAIN:
            return None, said
        if status in (401, 403):
            given = "the key in OPENAI_API_KEY" if self._key else "requests without a key: set OPENAI_API_KEY"
            raise InputError(f"{self._base} does not take {given} (HTTP {status})")
        if 300 <= status < 400:
            place = str(headers.get("location", "elsewhere")).partition("?")[0]
            raise InputError(f"{self._base} points to {place}: give that base URL")
        raise InputError(
            f"{self._base} does not take the request ({said}); check the URL, --endpoint-model and options"
        )

    def _clean(self, text: str) -> str:
        """A message of the endpoint, short and without the key."""
        text = text if self._key is None else text.replace(self._key, "***")
        return " ".join(text.split())[:200]

    async def _wait(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)

    def _pause(self, seconds: float, asked: str | None) -> None:
        """Nobody asks before: a limit on one request holds for all."""
        wanted = _seconds(asked)
        if wanted is not None and wanted > LONGEST_WAIT:
            raise EndpointError(
                f"{self._base} asks to wait {wanted:.0f} seconds; what is done stays: run the same command later"
            )
        # what the endpoint asks for, and a little of one's own, so that not all come back at once
        wait = seconds if wanted is None else wanted + random.uniform(0, 0.1)
        self._not_before = max(self._not_before, time.monotonic() + wait)


def _backoff(attempt: int) -> float:
    """The first wait, doubled with every attempt up to a minute, times .5 to 1.5."""
    return min(60.0, FIRST_WAIT * 2**attempt) * random.uniform(0.5, 1.5)


def _seconds(asked: str | None) -> float | None:
    """Of a Retry-After header: seconds or a date; None where there is none that can be read."""
    if asked is None:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _problem(data: bytes) -> tuple[str | None, str]:
    """Code and message of an error body, as far as there are any."""
    try:
        error = json.loads(data)["error"]
        if isinstance(error, str):
            return None, error
        code = error.get("code")
        return (str(code) if code in (*REFUSALS, *_EXHAUSTED) else error.get("type")), str(error.get("message") or "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None, ""
