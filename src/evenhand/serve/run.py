"""Listening: uvicorn in this process, until a signal; what was accepted is answered first."""

from __future__ import annotations

import signal
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI

from ..errors import InputError
from ..watch import Watcher
from .start import ServeOptions, prepare

DRAIN_SECONDS = 60
"""How long accepted requests may take after a SIGTERM."""


def run(options: ServeOptions, watcher: Watcher) -> None:
    """Serve until SIGTERM or SIGINT, then finish what was accepted.

    Raises: InputError before it listens, for what cannot hold or an address that is taken.
    """
    sockets = [_bound(options.host, options.port)]
    try:
        app = prepare(options, watcher)
        host, port = sockets[0].getsockname()[:2]
        where = f"[{host}]" if ":" in host else host
        watcher.say(f"listening at http://{where}:{port}/v1")
        listen(app, sockets)
    finally:
        sockets[0].close()


def listen(app: FastAPI, sockets: list[socket.socket]) -> None:
    """Run uvicorn on open sockets."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_keep_alive=30,
        limit_concurrency=2048,
        h11_max_incomplete_event_size=64 * 1024,
    )

    # uvicorn raises the signal again when it has stopped; a drained server has done what it was asked for
    def stopped(number: int, frame: Any) -> None:
        return

    before = signal.signal(signal.SIGTERM, stopped)
    try:
        uvicorn.Server(config).run(sockets=sockets)
    except KeyboardInterrupt:  # the same for SIGINT
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address, so that one that is taken is told before the model is loaded."""
    found: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        if found is not None:
            found.close()
        raise InputError(f"cannot listen at {host}:{port}: {error.strerror or error}; give another --port") from None
    return found
