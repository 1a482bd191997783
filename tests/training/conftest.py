"""Tiny random models of each family, with cached preferences that took no sampling."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tiny_pipelines import ready
from tiny_preferences import Make, preferences

from evenhand.host.host import Host
from evenhand.training.cache import PreferenceData


@pytest.fixture
def make() -> Iterator[Make]:
    opened: list[Host] = []

    def made(family: str = "sd1", **more: int) -> tuple[Host, PreferenceData]:
        host = Host.wrap(ready(family))
        opened.append(host)
        return host, preferences(host, **more)

    yield made
    for host in opened:
        host.close()
