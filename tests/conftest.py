"""What all tests share."""

from __future__ import annotations

import socket
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
