"""What all tests share."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections outwards fail at once, as on a machine without a network."""
    if request.node.get_closest_marker("network") is not None:
        return
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: Any) -> None:
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "localhost")):
            connect(self, address)
            return
        raise ConnectionError(f"tests use no network, but something connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Ray with two cores; where another one runs, or Ray is missing, the tests are skipped."""
    pytest.importorskip("ray", reason="ray is not installed")
    from evenhand.engine.cluster import hush, ray_module

    if os.environ.get("RAY_ADDRESS"):
        pytest.skip("RAY_ADDRESS names a cluster, which is not for tests")
    # Workers import the toys, and compute with as many threads as they are told.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    ray = ray_module()
    hush()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()
