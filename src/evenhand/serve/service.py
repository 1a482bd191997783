"""One request from its arrival to its answer; the routes only translate."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..concepts.concept import Concept
from ..errors import InputError
from .engine import Closed, Full, Late
from .keys import Caller, Rates
from .marking import Signer, marked_png
from .measures import Measures
from .monitor import ImageLog, Monitor
from .order import Made
from .planner import Plan, Planner, too_many
from .policy import Policy
from .prompt_words import named_groups
from .quotas import Quotas
from .refusals import Refusal, blocked, unusable
from .wire import ImageRequest, ImageResponse, MadeImage

_LOG = logging.getLogger("evenhand.serve")


class Backend(Protocol):
    """What makes the images of a plan."""

    async def make(self, plan: Plan, deadline: float) -> Sequence[Made]:
        """The images in order; cancelling it gives them up.

        Raises: Full, Late, Closed, Refusal; InputError for what the model cannot follow.
        """
        ...

    def close(self) -> None:
        """Finish what waits, and take nothing more."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Identity:
    """What the server says of itself.

    Args:
        model: its name in /v1/models and in every image.
        facts: more about the model, such as its hash.
        judges: role -> card, for /v1/audit.
    """

    model: str
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    judges: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parts:
    """Everything that a service is made of.

    Args:
        identity: what it says of itself.
        policy: what it holds to.
        planner: from requests to orders.
        backend: makes images.
        quotas: the ledger of urns.
        monitor: counts and alarms.
        log: a line per image.
        measures: for Prometheus.
        rates: how often each key may ask.
        groups: concepts by whose classes refusals are counted.
        always: SPECs of interventions that are meant for every image.
        signer: for C2PA manifests; None signs nothing.
        seeded: whether seeds mean anything to the backend.
    """

    identity: Identity
    policy: Policy
    planner: Planner
    backend: Backend
    quotas: Quotas
    monitor: Monitor
    log: ImageLog
    measures: Measures
    rates: Rates
    groups: tuple[Concept, ...] = ()
    always: tuple[str, ...] = ()
    signer: Signer | None = None
    seeded: bool = True


class Service:
    """Answers requests.

    Args:
        parts: what it is made of.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._names = [*parts.always, *[f"safety:{rule.name}" for rule in parts.policy.safety]]

    async def images(self, asked: ImageRequest, caller: Caller) -> ImageResponse:
        """The images of a request.

        Raises: Refusal.
        """
        parts, start = self.parts, time.monotonic()
        groups, status = named_groups(asked.prompt, parts.groups), 500
        try:
            response = await self._images(asked, caller, start)
            status = 200
            return response
        except Refusal as refusal:
            status = refusal.status
            for category in refusal.categories:
                for group in groups:
                    parts.measures.refusals.labels(category=category, group=group).inc()
            raise
        except asyncio.CancelledError:
            status = 499
            raise
        finally:
            parts.measures.latency.observe(time.monotonic() - start)
            for group in groups:
                parts.measures.requests.labels(status=str(status), group=group).inc()

    async def _images(self, asked: ImageRequest, caller: Caller, start: float) -> ImageResponse:
        parts = self.parts
        per_minute = caller.requests_per_minute or parts.policy.limits.requests_per_minute
        wait = parts.rates.wait(caller.name, per_minute)
        if wait:
            raise too_many(wait)
        plan = parts.planner.plan(asked, caller)
        draws = [one for some in plan.draws for one in some]
        try:
            made = await self._made(plan, start + parts.policy.limits.deadline_seconds)
            response = await self._response(plan, made, asked)
        except BaseException:
            parts.quotas.put_back(draws)
            raise
        parts.quotas.settle(draws)
        self._told(made, asked, caller)
        return response

    async def _made(self, plan: Plan, deadline: float) -> Sequence[Made]:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                made = await self.parts.backend.make(plan, deadline)
        except Full as full:
            raise Refusal(429, "queue_full", "the server is busy; ask again later", retry_after=full.seconds) from None
        except (TimeoutError, Late):
            raise Refusal(
                504, "deadline_exceeded", "the images were not made in time; ask for fewer, or later"
            ) from None
        except Closed:
            raise Refusal(503, "shutting_down", "the server stops; ask again in a moment", retry_after=5) from None
        except InputError as error:
            raise unusable("prompt", f"the request cannot be followed: {error}") from None
        self.parts.measures.resampled.inc(sum(one.order.attempt for one in made))
        if any(one.image is None for one in made):
            raise Refusal(500, "no_image", "the model gave no picture; another seed may help")
        if any(one.refused for one in made):
            gate = self.parts.policy.gate
            raise blocked("an image was refused by the image gate", gate.concept if gate else "image")
        return made

    async def _response(self, plan: Plan, made: Sequence[Made], asked: ImageRequest) -> ImageResponse:
        files = await asyncio.gather(*[asyncio.to_thread(self._file, one) for one in made])
        data = []
        for one, png in zip(made, files, strict=True):
            revised = one.revised or (one.order.prompt if one.order.prompt != asked.prompt else None)
            data.append(
                MadeImage(b64_json=base64.b64encode(png).decode(), revised_prompt=revised, evenhand=self._facts(one))
            )
        height, width = made[0].image.shape[:2] if made[0].image is not None else (0, 0)
        return ImageResponse(
            created=int(time.time()), data=data, size=f"{width}x{height}", evenhand={"policy": self._policy()}
        )

    def _file(self, one: Made) -> bytes:
        if one.image is None:
            raise ValueError("an image that is none is refused before it is written")
        facts = {"model": self.parts.identity.model, **self.parts.identity.facts, **self._facts(one)}
        png = marked_png(one.image, facts)
        return png if self.parts.signer is None else self.parts.signer.sign(png, facts)

    def _policy(self) -> dict[str, Any]:
        policy = self.parts.policy
        return {"name": policy.name, "version": policy.version, "hash": policy.hash}

    def _facts(self, one: Made) -> dict[str, Any]:
        """What made an image; without its prompt."""
        own = [{"name": some.name.removeprefix("+"), "strength": some.strength} for some in one.order.stack]
        return {
            "policy": self.parts.policy.label,
            "classes": dict(one.order.classes),
            "interventions": [*[{"name": name, "strength": 1.0} for name in self._names], *own],
            **({"seed": one.order.seed, "rows": one.rows} if self.parts.seeded else {}),
            "attempt": one.order.attempt,
            "flagged": one.flagged,
        }

    def _told(self, made: Sequence[Made], asked: ImageRequest, caller: Caller) -> None:
        parts = self.parts
        for one in made:
            parts.measures.images.labels(flagged=str(one.flagged).lower()).inc()
        for name in parts.monitor.record([(one.order, one.reading) for one in made]):
            parts.measures.alarms.labels(alarm=name).inc()
            _LOG.warning("alarm: %s went off; see /v1/audit", name)
        lines = [
            {
                "tenant": caller.name,
                "model": parts.identity.model,
                **self._facts(one),
                "unsafe": one.reading.unsafe,
                "labels": dict(one.reading.labels),
            }
            for one in made
        ]
        parts.log.write(lines, asked.prompt)

    def audit(self) -> dict[str, Any]:
        """The rates as they stand, and who judged."""
        return {
            **self.parts.monitor.audit(),
            "model": self.parts.identity.model,
            "policy": self._policy(),
            "judges": dict(self.parts.identity.judges),
        }

    def metrics(self) -> bytes:
        """What Prometheus reads."""
        return self.parts.measures.text(self.parts.monitor.alarms())

    def close(self) -> None:
        """Finish what waits."""
        self.parts.backend.close()


class EngineBackend:
    """Images by the engine of this process.

    Args:
        engine: an `Engine`.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    async def make(self, plan: Plan, deadline: float) -> Sequence[Made]:
        """Queue a plan and wait for it."""
        return await asyncio.wrap_future(self._engine.submit(plan.orders, plan.settings, deadline))

    def close(self) -> None:
        """Finish what waits."""
        self._engine.close()
