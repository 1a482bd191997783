"""What Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Measures:
    """The metrics of one server; labels have few values, and none comes from a request's text."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        named: dict[str, Any] = {"registry": self._registry}
        self.requests = Counter("evenhand_requests", "Answered requests.", ["status", "group"], **named)
        self.refusals = Counter("evenhand_refusals", "Refusals by a moderation.", ["category", "group"], **named)
        self.latency = Histogram(
            "evenhand_request_seconds", "From the request to its answer.", buckets=_SECONDS, **named
        )
        self.queue = Gauge("evenhand_queue_images", "Images that wait.", **named)
        self.batch_rows = Histogram("evenhand_batch_rows", "Images of a batch.", buckets=_ROWS, **named)
        self.batch_seconds = Histogram("evenhand_batch_seconds", "Time of a batch.", buckets=_SECONDS, **named)
        self.images = Counter("evenhand_images", "Images handed out.", ["flagged"], **named)
        self.resampled = Counter("evenhand_resampled", "Images that the gate had made again.", **named)
        self.alarms = Counter("evenhand_alarms", "Alarms that went off.", ["alarm"], **named)
        self.evidence = Gauge("evenhand_alarm_evidence", "Evidence for a change; rings at 1e5.", ["alarm"], **named)

    def batch(self, rows: int, seconds: float) -> None:
        """One batch was made."""
        self.batch_rows.observe(rows)
        self.batch_seconds.observe(seconds)

    def text(self, alarms: Mapping[str, Mapping[str, Any]]) -> bytes:
        """The exposition format.

        Args:
            alarms: of the monitor.
        """
        for name, one in alarms.items():
            self.evidence.labels(alarm=name).set(one["evidence"])
        return generate_latest(self._registry)
