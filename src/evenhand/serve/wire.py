"""What is sent and received: the request of OpenAI's image endpoint with a few fields of our own, and its response."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

LARGEST_SEED = 2**63 - 1


class Asked(pydantic.BaseModel):
    """An intervention that a request asks for."""

    model_config = pydantic.ConfigDict(extra="forbid")
    name: str = Field(max_length=48, description="as the policy names it")
    strength: float = Field(1.0, ge=0, le=10, allow_inf_nan=False)


class ImageRequest(pydantic.BaseModel):
    """POST /v1/images/generations. Fields after `user` are ours; clients of OpenAI send them as `extra_body`."""

    model_config = pydantic.ConfigDict(extra="forbid")
    prompt: str = Field(min_length=1, max_length=32000)
    model: str | None = Field(None, max_length=200)
    n: int | None = Field(None, ge=1, le=64)
    size: str | None = Field(None, max_length=20, pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")
    response_format: Literal["b64_json", "url"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    quality: str | None = Field(None, max_length=20, description="taken and not used")
    style: str | None = Field(None, max_length=20, description="taken and not used")
    background: str | None = Field(None, max_length=20, description="taken and not used")
    moderation: str | None = Field(None, max_length=20, description="taken and not used: the policy decides")
    user: str | None = Field(None, max_length=200, description="taken and not used: the key decides")
    stream: Literal[False] | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] | None = Field(None, description="image i starts from seed + i")
    steps: int | None = Field(None, ge=1, le=1000)
    guidance: float | None = Field(None, ge=0, le=1000, allow_inf_nan=False)
    negative_prompt: str | None = Field(None, max_length=32000)
    interventions: list[Asked] = Field([], max_length=16)


class ErrorDetail(pydantic.BaseModel):
    """As OpenAI describes errors."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    safety_violations: list[str] = []


class ErrorResponse(pydantic.BaseModel):
    """Every response that is no success."""

    error: ErrorDetail


class MadeImage(pydantic.BaseModel):
    """One image; `evenhand` says what made it."""

    b64_json: str
    revised_prompt: str | None = None
    evenhand: dict[str, Any] = {}


class ImageResponse(pydantic.BaseModel):
    """The images of a request."""

    created: int
    data: list[MadeImage]
    output_format: str = "png"
    size: str | None = None
    evenhand: dict[str, Any] = {}


class ModelEntry(pydantic.BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "evenhand"


class ModelList(pydantic.BaseModel):
    """GET /v1/models."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


def sentence(errors: list[Any]) -> tuple[str | None, str]:
    """The field and the sentence of pydantic's errors."""
    first = errors[0]
    place = [str(part) for part in first.get("loc", ()) if part != "body"]
    message = str(first.get("msg", "the request is malformed"))
    return (".".join(place) or None), f"{'.'.join(place) or 'the request'}: {message}"
