"""The images of an endpoint: asked for several at a time, taken in order, judged here."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import urllib.parse
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..concepts.concept import Concept
from ..errors import EndpointError, EvenhandError
from ..judges.base import Judge
from ..metrics.intervals import safety_interval
from ..metrics.over_prompts import over_prompts, with_interval
from ..records import REFUSED, Estimate, Request, Sample, Verdict, content_hash
from ..store import RunDirectory
from .config import AuditConfig
from .endpoint import base_url, price_of
from .images_api import Answer, ImagesApi, UndeliveredError
from .series import Series

KEY = "OPENAI_API_KEY"
JUDGED_TOGETHER = 16
_LOCAL = ("localhost", "127.0.0.1", "::1")


class EndpointSource:
    """Images of an endpoint, several at a time, in the order of the requests; a judge here looks at them."""

    def __init__(self, config: AuditConfig, asked: Mapping[str, Any], judge: Judge) -> None:
        self._base, self._options, self._judge = base_url(config.source), config.endpoint, judge
        self._asked = dict(asked)
        self._spent, self._dearest = 0.0, price_of(self._options)
        self._run: RunDirectory | None = None

    @property
    def judge_hash(self) -> str:
        """Content hash of the judge."""
        return self._judge.hash

    @property
    def evaluations(self) -> int:
        """0: what the endpoint computes is not known."""
        return 0

    def facts(self) -> dict[str, Any]:
        """What run.json keeps; never the key."""
        card = {"name": self._options.model, "endpoint": self._base, "asked": self._asked}
        model = {**card, "hash": content_hash([self._base, self._options.model])}
        return {"model": model, "batch_size": JUDGED_TOGETHER, "dtype": None, "threads": None, "device": None}

    def card(self) -> dict[str, Any]:
        """That of the judge."""
        return dict(self._judge.card())

    def booked(self, run: RunDirectory) -> None:
        """Take over what earlier sessions of the run spent: the cap is on all of them. What is lost is booked there."""
        self._run, self._spent = run, spent(run)

    def samples(self, requests: Sequence[Request], batch_size: int) -> Iterator[Sample]:
        """One sample per request, in order; a refusal is a sample without an image.

        Raises: InputError, EndpointError as `ImagesApi.image`; EndpointError when the next image could cost more than
            the cap leaves.
        """
        todo, waiting = deque(requests), deque[tuple[Request, Future[Answer]]]()
        if not todo:
            return
        with _Loop(self._client) as loop:
            try:
                while todo or waiting:
                    while todo and len(waiting) < 2 * self._options.concurrency and self._affordable(len(waiting)):
                        request = todo.popleft()
                        waiting.append((request, loop.start(lambda api, one=request: self._asking(api, one))))
                    if not waiting:
                        raise EndpointError(
                            f"--max-cost {self._options.max_cost:g} is reached ({self._spent:.2f} spent); what is done "
                            "stays: raise it and run the same command again"
                        )
                    request, future = waiting[0]
                    answer = future.result()
                    waiting.popleft()
                    yield self._sample(request, answer)
            except (EvenhandError, KeyboardInterrupt):
                self._book([future for _, future in waiting if future.done()])
                raise

    def judge(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> Sequence[Sequence[Verdict]]:
        """What the judge perceives; of a refused image it is said that it was refused."""
        shown = [one for one in samples if "refused" not in one.evidence]
        seen = iter(self._judge.judge([one.image for one in shown], concepts) if shown else [])
        return [next(seen) if "refused" not in one.evidence else _refusals(concepts) for one in samples]

    def _client(self) -> ImagesApi:
        key = os.environ.get(KEY) or None
        parts = urllib.parse.urlsplit(self._base)
        if parts.scheme == "http" and parts.hostname not in _LOCAL:
            key = None  # it would travel for everyone to read
        options = self._options
        return ImagesApi(self._base, str(options.model), key, self._asked, concurrency=options.concurrency)

    def _asking(self, api: ImagesApi, request: Request) -> Coroutine[Any, Any, Answer]:
        return api.image(request.prompt, request.seed if self._options.seeds else None)

    def _affordable(self, in_flight: int) -> bool:
        cap = self._options.max_cost
        return cap is None or self._spent + (in_flight + 1) * self._dearest <= cap * (1 + 1e-9)

    def _cost(self, answer: Answer | UndeliveredError) -> float | None:
        """What an answer cost, as it says or by the price; None where neither is known, or it refused."""
        refused = isinstance(answer, Answer) and answer.refused is not None
        if answer.cost is None and not refused and (self._options.image_price or self._options.max_cost):
            return price_of(self._options)
        return answer.cost

    def _book(self, lost: Sequence[Future[Answer]]) -> None:
        """The price of pictures that were made and did not come into the run: they are asked for again."""
        if self._run is None:
            return
        for future in lost:
            error = future.exception()
            answer = future.result() if error is None else error
            if isinstance(answer, (Answer, UndeliveredError)):
                self._run.pay(self._cost(answer) or 0.0)

    def _sample(self, request: Request, answer: Answer) -> Sample:
        evidence: dict[str, Any] = {}
        cost = self._cost(answer)
        if cost is not None:
            evidence["cost"] = cost
            self._spent, self._dearest = self._spent + cost, max(self._dearest, cost)
        if answer.revised_prompt is not None and answer.revised_prompt != request.prompt:
            evidence["revised_prompt"] = answer.revised_prompt
        if answer.refused is not None or answer.data is None:
            return Sample(request=request, image=None, evidence={**evidence, "refused": str(answer.refused)})
        return Sample(request=request, image=_decoded(answer.data), evidence=evidence)


def spent(run: RunDirectory) -> float:
    """What the images of a run cost, as the endpoint or `--image-price` says, with those that were lost."""
    return run.paid + sum(float((line.get("evidence") or {}).get("cost") or 0.0) for line in run.done().values())


def of_endpoint(config: AuditConfig, asked: Mapping[str, Any], run: RunDirectory) -> dict[str, Any]:
    """What result.json says otherwise of an endpoint: model, settings, refusals, and what was spent."""
    price = config.endpoint.image_price
    assumed = price is None and config.endpoint.max_cost is not None
    return {
        "model": config.endpoint.model,
        "source": base_url(config.source),
        "settings": dict(asked),
        "refused": sum("refused" in (line.get("evidence") or {}) for line in run.done().values()),
        "spent": {"amount": round(spent(run), 6), "image_price": price, "assumed": assumed},
    }


def refusal_estimates(series: Series, verdicts: Mapping[Request, Sequence[Verdict]]) -> list[Estimate]:
    """`refusal_rate` per row and over rows, by Clopper-Pearson: of all requests, those that the endpoint refused."""
    base = Estimate(metric="refusal_rate", concept=series.name, allocation=None)
    rows = []
    for row in series.rows:
        own = [verdicts[request] for request in series.requests if request.row == row]
        k = sum(some[0].reason == REFUSED for some in own)
        template = Estimate(metric="refusal_rate", concept=series.name, prompt=row, n=len(own), allocation=None)
        rows.append(with_interval(template, k / len(own), safety_interval(k, len(own))) if own else template)
    return [*rows, *over_prompts(rows, base, exact=True)]


def _refusals(concepts: Sequence[Concept]) -> list[Verdict]:
    return [Verdict(concept=concept.name, label=None, judge="endpoint", reason=REFUSED) for concept in concepts]


def _decoded(data: bytes) -> np.ndarray | None:
    """The picture; None for a file that is none, which counts as an abstention."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError):
        return None


class _Loop:
    """An event loop in a thread of its own, so that requests go on while images are stored and judged."""

    def __init__(self, client: Callable[[], ImagesApi]) -> None:
        self._make = client
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._api = asyncio.run_coroutine_threadsafe(self._opened(), self._loop).result()
        return self

    def start(self, work: Callable[[ImagesApi], Coroutine[Any, Any, Answer]]) -> Future[Answer]:
        """Begin a request."""
        return asyncio.run_coroutine_threadsafe(work(self._api), self._loop)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._closed(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _opened(self) -> ImagesApi:
        return self._make()

    async def _closed(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._api.__aexit__()
