"""An OpenAI-compatible endpoint as what is audited: what may be asked of it, and what it may cost."""

from __future__ import annotations

import urllib.parse
from typing import Any

from ..errors import InputError
from .config import AuditConfig, EndpointOptions

ASSUMED_PRICE = 0.25
"""What an image is taken to cost against `--max-cost` where nobody says: more than most do, so that it stops early."""


def is_endpoint(source: str) -> bool:
    """Whether `source` is the base URL of an endpoint."""
    return source.startswith(("http://", "https://"))


def base_url(source: str) -> str:
    """The base URL without a trailing slash or the path of the call.

    Raises: InputError for a URL with a user, a password, a query or no host: these would be stored with the run.
    """
    parts = urllib.parse.urlsplit(source)
    if not parts.hostname:
        raise InputError(f"{source}: expected a base URL such as https://api.openai.com/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"the URL of {parts.hostname} holds a user, a query or a fragment, which would be stored with the run: "
            f"leave it out, and give the key in OPENAI_API_KEY"
        )
    return source.rstrip("/").removesuffix("/images/generations")


def check_endpoint(config: AuditConfig) -> dict[str, Any]:
    """Refuses what an endpoint has no place for; returns what is asked of it beyond the prompt.

    Raises: InputError.
    """
    base_url(config.source)
    if config.endpoint.model is None:
        raise InputError(f"{config.source}: give the name of the model there, --endpoint-model NAME")
    image = config.image
    given = {
        "--with": config.interventions,
        "--scheduler": image.scheduler,
        **config.model.given,
    }
    for option, value in given.items():
        if value:
            raise InputError(f"{option} is for models that are loaded here, and {config.source} is an endpoint")
    size = None if image.size is None else f"{image.size[0]}x{image.size[1]}"
    asked: dict[str, Any] = {"num_inference_steps": image.steps, "guidance_scale": image.guidance, "size": size}
    asked["negative_prompt"] = image.negative_prompt
    return {key: value for key, value in asked.items() if value is not None}


def check_cost(images: int, options: EndpointOptions, *, most: bool) -> None:
    """Raises InputError where the images would cost more than `--max-cost`, before any is made.

    Args:
        images: of the audit.
        options: price and cap.
        most: whether the images are the most that it takes; then nothing is refused beforehand.
    """
    if options.max_cost is None or most:
        return
    price = price_of(options)
    if images * price > options.max_cost * (1 + 1e-9):
        assumed = "" if options.image_price is not None else " (assumed; say what it is with --image-price)"
        raise InputError(
            f"--max-cost {options.max_cost:g}: {images:,} images at {price:g}{assumed} cost {images * price:.2f}; "
            "raise it, or ask for fewer images"
        )


def price_of(options: EndpointOptions) -> float:
    """What an image counts against the cap."""
    return ASSUMED_PRICE if options.image_price is None else options.image_price
