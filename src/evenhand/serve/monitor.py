"""What a running server shows: counts with intervals that hold at every look, and alarms on what has changed."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..concepts.concept import Concept
from ..concepts.prompt_filter import reason_to_leave
from ..metrics.detectors import MEAN_TIME_TO_FALSE_ALARM, Detector
from ..metrics.sequences import confidence_sequence
from .order import Order, Reading
from .policy import ShareBound, Watch
from .state import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """One rate that is followed.

    Args:
        metric: "success", P(judged a | assigned a); "share", among images that were assigned nothing; "unsafe_rate".
        concept: of the rate.
        class_name: of the rate.
    """

    metric: str
    concept: str
    class_name: str

    @property
    def name(self) -> str:
        """As in the database and in the metrics."""
        return f"{self.metric}.{self.concept}.{self.class_name}"


class Monitor:
    """Counts and alarms of one policy, kept in the database.

    Shares of assigned images are not followed: urns make them right whatever the model does. Their success is.

    Args:
        state: the server's database.
        scope: what the counts belong to, such as a policy's label and a model; another one starts from nothing.
        watch: bounds of the alarms.
        concepts: what is measured.
        clock: seconds; for tests.
    """

    def __init__(
        self,
        state: State,
        scope: str,
        watch: Watch,
        concepts: Sequence[Concept],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state, self._scope, self._watch, self._clock = state, scope, watch, clock
        self._concepts = {one.name: one for one in concepts}
        with state.transaction() as connection:
            counts = connection.execute("SELECT name, happened, seen FROM counts WHERE scope = ?", (scope,)).fetchall()
            alarms = connection.execute("SELECT name, state, last FROM alarms WHERE scope = ?", (scope,)).fetchall()
        self._counts: dict[str, tuple[int, int]] = {name: (happened, seen) for name, happened, seen in counts}
        self._alarms = {name: Detector.from_dict(json.loads(text)) for name, text, _ in alarms}
        self._last: dict[str, float | None] = {name: last for name, _, last in alarms}

    def record(self, seen: Sequence[tuple[Order, Reading]]) -> tuple[str, ...]:
        """Count images that are handed out.

        Returns: the names of the alarms that went off.
        """
        rung: list[str] = []
        touched: set[str] = set()
        for order, reading in seen:
            for name, happened, detectors in self._events(order, reading):
                touched.add(name)
                before = self._counts.get(name, (0, 0))
                self._counts[name] = (before[0] + happened, before[1] + 1)
                for key, bound, bad in detectors:
                    touched.add(key)
                    rung += self._watched(key, bound, bad)
        self._store(touched)
        return tuple(rung)

    def audit(self) -> dict[str, Any]:
        """The rates as they stand; every interval holds at every look together with all others of its rate."""
        estimates = []
        for name, (happened, seen) in sorted(self._counts.items()):
            metric, concept, class_name = name.split(".", 2)
            if metric == "abstained":
                continue
            low, high = confidence_sequence(happened, seen)
            estimates.append(
                {
                    "metric": metric,
                    "concept": concept,
                    "class": class_name,
                    "value": happened / seen,
                    "low": min(low, happened / seen),
                    "high": max(high, happened / seen),
                    "n": seen,
                    "abstained": self._counts.get(f"abstained.{metric}-{concept}.{class_name}", (0, 0))[1],
                    "alarms": {
                        key.rpartition("/")[2]: told
                        for key, told in self.alarms().items()
                        if key.startswith(f"{name}/")
                    },
                }
            )
        return {
            "schema": "evenhand.watch/1",
            "scope": self._scope,
            "confidence": 0.95,
            "mean_images_to_false_alarm": MEAN_TIME_TO_FALSE_ALARM,
            "estimates": estimates,
        }

    def alarms(self) -> dict[str, dict[str, Any]]:
        """Every alarm: its bound on the rate of what is unwanted, the evidence for a change, and when it last rang."""
        return {
            key: {
                "bound": one.bound,
                "evidence": round(one.value, 4),
                "images": one.seen,
                "alarms": one.alarms,
                "last": self._last.get(key),
            }
            for key, one in self._alarms.items()
        }

    def _events(self, order: Order, reading: Reading) -> list[tuple[str, bool, list[tuple[str, float, bool]]]]:
        """(rate, whether it happened, alarms with what is unwanted)."""
        found = []
        for name, label in reading.labels.items():
            concept = self._concepts[name]
            series = self._series(order, concept)
            for one in series:
                if label is None:
                    found.append((f"abstained.{one.metric}-{one.concept}.{one.class_name}", False, []))
                else:
                    happened = label == one.class_name
                    found.append((one.name, happened, self._bounds(one, happened)))
        return found

    def _series(self, order: Order, concept: Concept) -> list[Series]:
        if concept.kind == "safety":
            return [Series(metric="unsafe_rate", concept=concept.name, class_name=str(concept.unsafe_class))]
        if concept.name in order.classes:
            return [Series(metric="success", concept=concept.name, class_name=order.classes[concept.name])]
        if any(concept.name in one.split("*") for one in order.classes):
            return []  # a part of a joint that was assigned
        if reason_to_leave(order.row, concept) is not None:
            return []
        return [Series(metric="share", concept=concept.name, class_name=one) for one in concept.class_names]

    def _bounds(self, one: Series, happened: bool) -> list[tuple[str, float, bool]]:
        if one.metric == "unsafe_rate":
            return [(f"{one.name}/rose", self._watch.unsafe_at_most, happened)]
        if one.metric == "success":
            return [(f"{one.name}/fell", 1 - self._watch.success_at_least, not happened)]
        return [
            (f"{one.name}/{side}", bound, bad)
            for some in self._watch.shares
            if (some.concept, some.class_name) == (one.concept, one.class_name)
            for side, bound, bad in _sides(some, happened)
        ]

    def _watched(self, key: str, bound: float, bad: bool) -> list[str]:
        before = self._alarms.get(key)
        if before is None or before.bound != bound:
            before = Detector(bound=bound)
        after = self._alarms[key] = before.after(bad)
        if after.alarms == before.alarms:
            return []
        self._last[key] = self._clock()
        return [key]

    def _store(self, names: set[str]) -> None:
        if not names:
            return
        counts = [(self._scope, name, *self._counts[name]) for name in names if name in self._counts]
        alarms = [
            (self._scope, name, json.dumps(self._alarms[name].to_dict()), self._last.get(name))
            for name in names
            if name in self._alarms
        ]
        with self._state.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?, ?, ?)", counts)
            connection.executemany("INSERT OR REPLACE INTO alarms VALUES (?, ?, ?, ?)", alarms)


def _sides(bound: ShareBound, happened: bool) -> list[tuple[str, float, bool]]:
    found = []
    if bound.at_most is not None and 0 < bound.at_most < 1:
        found.append(("rose", bound.at_most, happened))
    if bound.at_least is not None and 0 < bound.at_least < 1:
        found.append(("fell", 1 - bound.at_least, not happened))
    return found


class ImageLog:
    """A line per image, for as long as the policy says.

    Args:
        state: the server's database.
        days: how long lines are kept; 0 writes none, and removes those of before.
        prompts: whether prompts are written.
        clock: seconds; for tests.
    """

    def __init__(self, state: State, days: float, prompts: bool, clock: Callable[[], float] = time.time) -> None:
        self._state, self._days, self._prompts, self._clock = state, days, prompts, clock
        self._purged = 0.0
        self._purge()

    def write(self, lines: Sequence[Mapping[str, Any]], prompt: str) -> None:
        """Add lines about images that a prompt asked for."""
        if not self._days:
            return
        now = self._clock()
        more = {"prompt": prompt} if self._prompts else {}
        texts = [(now, json.dumps({**line, **more}, ensure_ascii=False)) for line in lines]
        with self._state.transaction() as connection:
            connection.executemany("INSERT INTO log (time, line) VALUES (?, ?)", texts)
        if now - self._purged > _PURGE_EVERY:
            self._purge()

    def lines(self) -> list[dict[str, Any]]:
        """What is kept, the oldest first."""
        with self._state.transaction() as connection:
            return [json.loads(text) for (text,) in connection.execute("SELECT line FROM log ORDER BY id")]

    def _purge(self) -> None:
        self._purged = self._clock()
        with self._state.transaction() as connection:
            connection.execute("DELETE FROM log WHERE time < ?", (self._purged - self._days * 86_400,))
            if not self._days:
                connection.execute("DELETE FROM log")


_PURGE_EVERY = 600.0
