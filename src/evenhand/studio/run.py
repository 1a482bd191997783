"""The studio as a process: the page on a loopback address, with nothing fetched from elsewhere."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from .bench import Bench
from .handlers import Handlers
from .look import FOLDER

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'self'"
)
"""The browser refuses everything that does not come from the studio itself."""


class _Closed:
    """Adds the policy to every answer."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY.encode())]
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)


def serve_page(
    bench: Bench, *, judge: str | None = None, host: str = "127.0.0.1", port: int = 7860, folder: Path = FOLDER
) -> tuple[str, Callable[[], None]]:
    """Start the page; returns its address and what closes it.

    Args:
        bench: the model.
        judge: as typed, for the command line.
        host, port: where to listen; port 0 takes a free one.
        folder: where files go.

    Raises: InputError where the port is taken.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # gradio's queue still sets an option that pandas 3 has retired; nothing depends on it
    warnings.filterwarnings("ignore", message=".*no_silent_downcasting.*")
    from starlette.middleware import Middleware

    from .page import STYLE, build_page, theme  # needs gradio, which reads these when it is imported

    page = build_page(Handlers(bench, judge=judge, folder=folder))
    page.queue(default_concurrency_limit=8)
    try:
        _, address, _ = page.launch(
            server_name=host,
            server_port=port or free_port(host),
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            show_error=False,
            footer_links=[],
            enable_monitoring=False,
            ssr_mode=False,
            theme=theme(),
            css_paths=STYLE,
            allowed_paths=[str(folder.resolve()), str(Path("runs").resolve())],
            app_kwargs={"middleware": [Middleware(_Closed)], "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        raise InputError(f"cannot listen at {host}:{port}: {error}; give another --port, or 0 for a free one") from None
    return address, page.close


def free_port(host: str) -> int:
    """A port that nothing listens at now."""
    import socket

    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
