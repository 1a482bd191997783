"""Toy servers that end with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from toy_server import Server, policy_of


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers; keyword arguments are fields of the policy, and `keys`, `folder`, `make`, `batch_size`."""
    started: list[Server] = []

    def start(**fields: Any) -> Server:
        own = {name: fields.pop(name) for name in ("keys", "folder", "make", "batch_size") if name in fields}
        started.append(Server(policy_of(**fields), **own))
        return started[-1]

    yield start
    for one in started:
        one.close()
