"""The routes: from HTTP to the service and back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .keys import NOBODY, Caller, Keys
from .measures import CONTENT_TYPE
from .refusals import Refusal
from .service import Service
from .wire import ErrorResponse, ImageRequest, ImageResponse, ModelEntry, ModelList, sentence

LARGEST_BODY = 256 * 1024
"""Bytes of a request."""
_LOG = logging.getLogger("evenhand.serve")
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text}
    for status, text in {
        400: "Cannot be used, or refused: `moderation_blocked`.",
        401: "No key, or an unknown one.",
        403: "The key may not read this.",
        413: "The body is too large.",
        415: "The body is no JSON.",
        429: "Too many requests, or the queue is full; see Retry-After.",
        503: "The server stops.",
        504: "Not made within the deadline.",
    }.items()
}


def create_app(service: Service, keys: Keys | None, *, started: int = 0) -> FastAPI:
    """The application.

    Args:
        service: answers requests; it is closed when the application ends.
        keys: who may ask; None lets everybody.
        started: when the model was loaded, seconds, for /v1/models.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.close)

    app = FastAPI(
        title="Evenhand",
        summary="OpenAI-compatible images under a policy.",
        version=version("evenhand"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Bounded, largest=LARGEST_BODY)
    _answer_errors(app)
    caller_of = _authentication(keys)
    scheme = [Depends(HTTPBearer(auto_error=False))] if keys is not None else []
    model = service.parts.identity.model

    @app.post(
        "/v1/images/generations", response_model=ImageResponse, responses=_ERRORS, dependencies=scheme, tags=["images"]
    )
    async def generate(asked: ImageRequest, request: Request) -> ImageResponse:
        """Make images."""
        caller = caller_of(request)
        if asked.model is not None and asked.model != model:
            raise Refusal(
                404, "model_not_found", f"model: {asked.model!r} is not served here; GET /v1/models", param="model"
            )
        return await while_connected(request, service.images(asked, caller))

    @app.get("/v1/models", response_model=ModelList, responses=_ERRORS, dependencies=scheme, tags=["models"])
    async def list_models(request: Request) -> ModelList:
        """The one model."""
        caller_of(request)
        return ModelList(data=[ModelEntry(id=model, created=started)])

    _add_watch(app, service, caller_of, scheme)
    return app


def _add_watch(app: FastAPI, service: Service, caller_of: Callable[[Request], Caller], scheme: list[Any]) -> None:
    """What is read by those who watch."""

    @app.get("/v1/audit", responses=_ERRORS, dependencies=scheme, tags=["watch"])
    async def audit(request: Request) -> dict[str, Any]:
        """Rates with intervals that hold at every look, and the alarms."""
        _watching(caller_of(request))
        return service.audit()

    @app.get("/metrics", responses=_ERRORS, dependencies=scheme, tags=["watch"], response_class=Response)
    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        _watching(caller_of(request))
        return Response(service.metrics(), media_type=CONTENT_TYPE)

    @app.get("/health", tags=["watch"])
    async def health() -> dict[str, str]:
        """Whether it answers."""
        return {"status": "ok"}


def _authentication(keys: Keys | None) -> Callable[[Request], Caller]:
    def caller_of(request: Request) -> Caller:
        if keys is None:
            return NOBODY
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        caller = keys.caller(token.strip() if kind.lower() == "bearer" else None)
        if caller is None:
            raise Refusal(401, "invalid_api_key", "no API key, or an unknown one; send it as a bearer token")
        return caller

    return caller_of


def _watching(caller: Caller) -> None:
    if not caller.watches:
        raise Refusal(403, "insufficient_permissions", "this key may make images, and not read figures of others")


async def while_connected(request: Request, work: Awaitable[ImageResponse]) -> ImageResponse:
    """The result of `work`, which is cancelled when the client goes away."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "client_closed_request", "the client went away")
        return task.result()
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> JSONResponse:
        return JSONResponse(refusal.body(), refusal.status, refusal.headers())

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        field, message = sentence(list(error.errors()))
        return JSONResponse(Refusal(400, "invalid_value", message, param=field).body(), 400)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}.get(
            error.status_code, "invalid_request"
        )
        return JSONResponse(
            Refusal(error.status_code, code, str(error.detail)).body(), error.status_code, dict(error.headers or {})
        )

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(Refusal(500, "internal_error", "an internal error; the server's log says more").body(), 500)


class Bounded:
    """Refuses bodies that are too large or no JSON, before anything reads them.

    A body that is declared as text would pass a browser's check of other sites, so only JSON is taken.
    """

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app, self._largest = app, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await JSONResponse(refusal.body(), refusal.status)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._largest:
                raise HTTPException(413, _too_large(self._largest).message)
            return message

        await self._app(scope, counted, send)

    def _refusal(self, method: str, headers: Mapping[str, str]) -> Refusal | None:
        if method != "POST":
            return None
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return Refusal(415, "unsupported_media_type", "the body must be JSON, declared as application/json")
        length = headers.get("content-length", "0")
        if length.isascii() and length.isdecimal() and int(length[:20]) > self._largest:
            return _too_large(self._largest)
        return None


def _too_large(largest: int) -> Refusal:
    return Refusal(413, "request_too_large", f"the body is larger than {largest} bytes")
