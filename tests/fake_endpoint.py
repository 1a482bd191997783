"""A small server that speaks the OpenAI Images API and can be told how to misbehave.

It shows toy images: one grey, drawn from the seed where one is sent, else from how often the prompt was asked for.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image

Answer = tuple[int, Any, Mapping[str, str]]
"""Status, body, headers; of a picture, a status of 0 is a connection that is dropped."""


class FakeEndpoint:
    """What was asked, and what is answered: `script` may answer in the place of an image, None for an image."""

    def __init__(self, script: Callable[[int, Mapping[str, Any]], Answer | None] | None = None) -> None:
        self.script = script or (lambda number, body: None)
        self.bodies: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: list[str | None] = []
        self.at_once = self.most_at_once = 0
        self.delay = 0.0
        self.by_url = False
        self.pictures: Callable[[int], Answer | None] = lambda number: None
        self.fetched = 0
        self.usage: Mapping[str, Any] | None = None
        self.url = ""
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()

    def answer(self, body: dict[str, Any], key: str | None) -> Answer:
        with self._lock:
            number = len(self.bodies)
            self.bodies.append(body)
            self.keys.append(key)
            self.times.append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(self.delay)
            scripted = self.script(number, body)
            return scripted if scripted is not None else (200, self._image(body), {})
        finally:
            with self._lock:
                self.at_once -= 1

    def _image(self, body: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            number = self._asked[body["prompt"]]
            self._asked[body["prompt"]] += 1
        level = random.Random(body.get("seed", f"{body['prompt']} {number}")).randrange(240)
        if self.by_url:
            data: dict[str, Any] = {"url": f"{self.url}/picture/{level}"}
        else:
            data = {"b64_json": base64.b64encode(png(level)).decode()}
        return {"created": 0, "data": [data], **({"usage": self.usage} if self.usage else {})}


def png(level: int) -> bytes:
    """An 8 x 8 picture of one grey as a file."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (level, level, level)).save(buffer, "PNG")
    return buffer.getvalue()


def refusal(code: str = "moderation_blocked") -> Answer:
    """The answer of an endpoint that blocks a prompt."""
    error = {
        "message": "rejected by the safety system. safety_violations=[violence]",
        "type": "user_error",
        "code": code,
    }
    return 400, {"error": error}, {}


@contextlib.contextmanager
def serving(fake: FakeEndpoint) -> Iterator[str]:
    """The base URL of a running server."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path != "/v1/images/generations":
                self._send(404, b"{}", {})
                return
            status, answer, headers = fake.answer(body, self.headers.get("Authorization"))
            self._send(status, answer if isinstance(answer, bytes) else json.dumps(answer).encode(), headers)

        def do_GET(self) -> None:
            fake.keys.append(self.headers.get("Authorization"))
            fake.fetched += 1
            scripted = fake.pictures(fake.fetched - 1)
            if scripted is not None:
                status, answer, headers = scripted
                if not status:
                    self.close_connection = True  # gone without an answer
                    return
                self._send(status, answer, headers)
                return
            self._send(200, png(int(self.path.rpartition("/")[2])), {})

        def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield f"{fake.url}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
