"""One tab: what it looks at, the images it has, and what its person marked. It shares the model and nothing else."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..concepts.concept import Concept
from ..concepts.library import load_concept
from ..errors import InputError
from ..judges.base import Judge
from ..records import Request, Sample, Verdict
from ..verbs.arm import PLAIN, Arm
from ..verbs.series import Series
from .bench import Bench, Cancelled
from .label_queue import Check
from .live import Live, live
from .look import Look

if TYPE_CHECKING:
    from .depicting import Depicted
    from .suggesting import Suggestion

UNSAFE = "unsafe"
"""The concept by which images are covered where no safety concept is looked at."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """An image and what the judge perceives in it, a verdict for everything that it was asked."""

    sample: Sample
    verdicts: tuple[Verdict, ...]

    @property
    def request(self) -> Request:
        """What was asked for."""
        return self.sample.request


def with_unsafe(concepts: Sequence[Concept]) -> tuple[Concept, ...]:
    """The concepts, and whether an image is unsafe where none of them says so: unsafe images are covered."""
    if any(one.kind == "safety" for one in concepts):
        return tuple(concepts)
    return (*concepts, load_concept(UNSAFE))


def perceived_unsafe(asked: Sequence[Concept], seen: Seen) -> bool:
    """Whether an image is perceived as unsafe, by any safety concept among those that the judge was asked."""
    return any(
        concept.kind == "safety" and verdict.label == concept.unsafe_class
        for concept, verdict in zip(asked, seen.verdicts, strict=True)
    )


@dataclasses.dataclass(kw_only=True)
class Images:
    """The images of one arm, and what they cost."""

    arm: Arm = PLAIN
    seen: list[Seen] = dataclasses.field(default_factory=list)
    evaluations: int = 0
    seconds: float = 0.0

    def labels(self, place: int) -> list[str | None]:
        """What the judge perceives of the concept at `place`, image by image."""
        return [one.verdicts[place].label for one in self.seen]


class Session:
    """The state of one tab.

    Attributes:
        look: what is looked at; None before the first images.
        plain: the images of the model as it is.
        fixed: those under the stack of the page Fix, on the same seeds; None before.
        disputed: image number -> what the person notes of it. Whoever clicks chooses, so no estimate reads this.
        specs: the stack of the page Fix, as after `--with`.
        check: the queue of the page Check; None before one is drawn.
        depicted: the images of an association; None before one is asked for.
        suggestion: what a trial found; None before one is made.
        shown: numbers of the unsafe images that were uncovered.
        stop: set by the button Stop.
    """

    def __init__(self) -> None:
        self.look: Look | None = None
        self.plain = Images()
        self.fixed: Images | None = None
        self.disputed: dict[int, str] = {}
        self.shown: set[int] = set()
        self.specs: tuple[str, ...] = ()
        self.check: Check | None = None
        self.depicted: Depicted | None = None
        self.suggestion: Suggestion | None = None
        self.stop = threading.Event()
        self._concepts: tuple[Concept, ...] = ()
        self._working = threading.Lock()

    def __deepcopy__(self, memo: dict[int, object]) -> Session:
        """A new one: what Gradio copies for each tab is the empty state of the page, and locks have no copy."""
        return Session()

    @property
    def concepts(self) -> tuple[Concept, ...]:
        """What is read in the images, with targets."""
        return self._concepts

    @property
    def asked(self) -> tuple[Concept, ...]:
        """What the judge is asked: the concepts, and whether an image is unsafe, so that it can be covered."""
        return with_unsafe(self._concepts)

    def begin(self, look: Look) -> None:
        """Look at something; images stay where only targets differ, since these change no image.

        Raises: InputError (or a subclass) for a concept or target that cannot be used; everything then stays.
        """
        concepts = look.series(1).concepts
        same = self.look is not None and dataclasses.replace(self.look, targets=look.targets) == look
        if not same:
            self.plain, self.fixed, self.check, self.suggestion = Images(), None, None, None
            self.disputed, self.shown = {}, set()
        self.look, self._concepts = look, concepts

    def series(self) -> Series:
        """The images that are there, as the series of an audit. Raises: InputError where there are none."""
        return self._look().series(self._made())

    def grow(self, bench: Bench, images: int) -> Iterator[int]:
        """Make further images, one batch at a time; yields how many there are after each.

        Ends early once `stop` is set. Raises: InputError where this tab is at work already, or for too many images.
        """
        first = len(self.plain.seen)
        requests = self._look().series(first + images).requests[first:]
        yield from self.fill(bench, self.plain, requests)

    def fill(
        self,
        bench: Bench,
        into: Images,
        requests: Sequence[Request],
        asked: Sequence[Concept] | None = None,
        judge: Judge | None = None,
    ) -> Iterator[int]:
        """Make and judge requests into `into`, one batch at a time; as `grow`.

        Args:
            bench: the model.
            into: gets the images, and gives the arm.
            requests: in order.
            asked: of the judge; None asks what the page looks at.
            judge: who is asked; None asks that of the page.
        """
        if not self._working.acquire(blocking=False):
            raise InputError("this tab is at work already: wait, or press Stop")
        try:
            self.stop.clear()
            size = bench.model.batch_size
            for start in range(0, len(requests), size):
                made, evaluations, seconds = bench.make(requests[start : start + size], into.arm, self.stop.is_set)
                verdicts = bench.look(made, self.asked if asked is None else asked, judge)
                into.seen += [Seen(sample=one, verdicts=tuple(v)) for one, v in zip(made, verdicts, strict=True)]
                into.evaluations += evaluations
                into.seconds += seconds
                yield len(into.seen)
        except Cancelled:
            return
        finally:
            self._working.release()

    def estimates(self) -> list[Live]:
        """What is known of every concept: of all images, whatever is disputed."""
        return [live(concept, self.plain.labels(k)) for k, concept in enumerate(self._concepts)]

    def unsafe(self, number: int, images: Images | None = None) -> bool:
        """Whether the judge perceives something unsafe in image `number`, by any safety concept."""
        seen = (images or self.plain).seen[number]
        return perceived_unsafe(self.asked, seen)

    def dispute(self, number: int, note: str = "") -> None:
        """Store that the person disagrees with the judge on an image, or take it back; no estimate changes."""
        if self.disputed.pop(number, None) is None:
            self.disputed[number] = note

    def show(self, number: int) -> None:
        """Uncover an unsafe image."""
        self.shown.add(number)

    def _look(self) -> Look:
        if self.look is None:
            raise InputError("there is nothing to work on yet: make images on the page Look first")
        return self.look

    def _made(self) -> int:
        self._look()
        if not self.plain.seen:
            raise InputError("there is no image yet: make some on the page Look first")
        return len(self.plain.seen)
