"""The one model of a studio, which all tabs share: their batches take turns in the thread of the model."""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..concepts.concept import Concept
from ..concepts.library import concept_names, load_concept
from ..host.sampler import sample
from ..host.undo import Undo
from ..judges.base import DEFAULT_JUDGE, Judge
from ..judges.load import load_judge
from ..methods.fitting import FitPlan, Fitted
from ..records import Request, Sample, Verdict
from ..verbs.arm import PLAIN, Arm, plan_arm
from ..verbs.config import ImageOptions, ModelOptions
from ..verbs.defaults import asked_settings, read_card
from ..verbs.fits import Fits, stored_fit
from ..verbs.model import OpenModel, open_model
from ..verbs.model_thread import ModelThread
from ..watch import Silent, Watcher

T = TypeVar("T")


class Cancelled(Exception):
    """The person pressed Stop."""


class Progress:
    """A watcher that the page reads; work ends at its next step once `stop` is set.

    Attributes:
        stop: set it to end the work.
        line: what is being done, for people.
    """

    def __init__(self, stop: threading.Event | None = None) -> None:
        self.stop = stop or threading.Event()
        self.line = ""
        self._what, self._total, self._done = "", 0, 0

    def say(self, text: str) -> None:
        """A remark."""
        self.line = text

    def start(self, what: str, *, total: int, done: int) -> None:
        """Something with `total` images begins."""
        self._what, self._total, self._done = what, total, done
        self._tell()

    def advance(self, count: int = 1) -> None:
        """Some are done. Raises: Cancelled once `stop` is set."""
        self._done += count
        self._tell()
        if self.stop.is_set():
            raise Cancelled

    def _tell(self) -> None:
        self.line = f"{self._what}: {self._done} of {self._total} images"


class Bench:
    """A model and its judge.

    Args:
        model: loaded.
        judge: looks at every image.
        source: name of the model, as typed.
        image, options: how images are made and how the model was loaded, for the command line.
        thread: that of the model; None makes one.
    """

    def __init__(
        self,
        model: OpenModel,
        judge: Judge,
        source: str,
        *,
        image: ImageOptions | None = None,
        options: ModelOptions | None = None,
        thread: ModelThread | None = None,
    ) -> None:
        self.model, self.judge, self.source = model, judge, source
        self.image, self.options = image or ImageOptions(), options or ModelOptions()
        self._thread = thread or ModelThread()

    def do(self, work: Callable[[], T]) -> T:
        """The result of `work`, done where all of torch's work is done. Raises: what it raises."""
        return self._thread.do(work)

    def make(
        self, requests: Sequence[Request], arm: Arm = PLAIN, stop: Callable[[], bool] = lambda: False
    ) -> tuple[list[Sample], int, float]:
        """One batch: the images in order, rows that the denoiser computed, seconds.

        Raises: Cancelled when `stop` says so; nothing of the batch is kept then.
        """
        host = self.model.host

        def work() -> tuple[list[Sample], int, float]:
            started, before = time.monotonic(), host.evaluations
            with Undo() as undo, arm.attached(host):
                undo.replace(host.denoiser, "forward", _until(stop, host.denoiser.forward))
                made = list(sample(host, requests, self.model.settings, batch_size=self.model.batch_size, pad=True))
            return made, host.evaluations - before, time.monotonic() - started

        return self.do(work)

    def warm(self) -> None:
        """Do once what only the first batch has to do, so that nobody waits for it. Cost: a batch of two steps."""
        host, size = self.model.host, self.model.batch_size
        settings = dataclasses.replace(self.model.settings, steps=2)
        requests = [Request(row="warm", prompt="", index=k, seed=k) for k in range(size)]

        def work() -> None:
            images = [one.image for one in sample(host, requests, settings, batch_size=size)]
            shipped = [load_concept(name) for name in concept_names()]
            self.judge.judge(images, [one for one in shipped if self.judge.knows(one)])  # reads each phrase once

        self.do(work)

    def look(
        self, samples: Sequence[Sample], concepts: Sequence[Concept], judge: Judge | None = None
    ) -> list[list[Verdict]]:
        """What the judge, or another one, perceives: one list per image, one verdict per concept."""
        return self.do(lambda: (judge or self.judge).judge([one.image for one in samples], list(concepts)))

    def build(self, specs: Sequence[str], concepts: Sequence[Concept], seed: int, watcher: Watcher) -> Arm:
        """The arm of a stack; what was never fitted is fitted now, and stored.

        Raises: InputError, DeclinedError; Cancelled by a watcher.
        """
        planned = plan_arm(specs, read_card(self.source), concepts, seed)
        return self.do(lambda: planned.build(self.model.host, None, watcher))

    def stored(self, plan: FitPlan) -> bool:
        """Whether what a plan asks for was fitted before."""
        return stored_fit(plan, self.model.host) is not None

    def fitted(self, plan: FitPlan) -> Fitted:
        """What a plan asks for, from the store or fitted now. Raises: DeclinedError, InputError."""
        return self.do(lambda: Fits(self.model.host, None, Silent()).obtain(plan))

    def facts(self) -> dict[str, Any]:
        """What run.json keeps of the model and the judge."""
        return {**self.model.facts(), "judge": dict(self.judge.card())}


def open_bench(
    source: str, *, judge: str | None = None, image: ImageOptions | None = None, options: ModelOptions | None = None
) -> Bench:
    """Load a model and its judge.

    Raises: ModelError when one cannot be loaded; InputError for an unknown judge or scheduler.
    """
    image, options = image or ImageOptions(), options or ModelOptions(batch_size=SMALL_BATCH)
    card, thread = read_card(source), ModelThread()
    settings = asked_settings(card, image)
    model = thread.do(lambda: open_model(source, options, settings))
    looker = thread.do(lambda: load_judge(judge or card.judge or DEFAULT_JUDGE, model.host.device))
    return Bench(model, looker, source, image=image, options=options, thread=thread)


SMALL_BATCH = 4
"""Images of a batch unless asked otherwise: the first ones are soon there."""


def _until(stop: Callable[[], bool], forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if stop():
            raise Cancelled
        return forward(*args, **kwargs)

    return checked
