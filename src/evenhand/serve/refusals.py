"""What a client is told when it does not get an image: OpenAI's shape, one sentence, and nothing of the inside."""

from __future__ import annotations

import math
from typing import Any


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        code: as OpenAI names them, such as "moderation_blocked".
        message: one sentence: what was given, what was expected.
        param: the field of the request, where one is to blame.
        retry_after: seconds after which it may work, for the header Retry-After.
        categories: what a moderation found.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        categories: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.retry_after, self.categories = retry_after, categories

    def body(self) -> dict[str, Any]:
        """The JSON of the response."""
        error: dict[str, Any] = {
            "message": self.message,
            "type": _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error"),
            "param": self.param,
            "code": self.code,
        }
        if self.categories:
            error["safety_violations"] = list(self.categories)
        return {"error": error}

    def headers(self) -> dict[str, str]:
        """Headers beside those of every response."""
        found = {} if self.retry_after is None else {"Retry-After": str(max(1, math.ceil(self.retry_after)))}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


_TYPES = {401: "authentication_error", 429: "rate_limit_error"}


def blocked(message: str, *categories: str) -> Refusal:
    """A moderation refused, by the prompt or by the image."""
    return Refusal(400, "moderation_blocked", message, categories=categories)


def unusable(param: str, message: str) -> Refusal:
    """A field that cannot be used."""
    return Refusal(400, "invalid_value", message, param=param)
