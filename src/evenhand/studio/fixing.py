"""Interventions on the images of a tab: a stack that is edited, the same seeds again, and what changed."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from ..concepts.concept import Concept
from ..concepts.library import load_concept
from ..errors import InputError
from ..methods.spec import parse_spec
from ..methods.table import all_methods
from ..metrics.changes import attribute_changes, safety_changes
from ..records import Estimate
from ..verbs.arm import Arm, plan_arm, stacked
from ..verbs.defaults import read_card
from .bench import Bench, Cancelled, Progress
from .session import UNSAFE, Images, Session

STRONGEST = 3.0
"""End of a strength slider; a stronger one is typed as strength=."""
_LOOK_EVERY = 0.2
"""Seconds between two looks at the progress of a fit."""


@dataclasses.dataclass(frozen=True)
class Stack:
    """SPECs that act together, in order; every change gives a new stack.

    Args:
        specs: as after `--with`.
    """

    specs: tuple[str, ...] = ()

    def add(self, text: str) -> Stack:
        """With one more SPEC, or several of "A + B", at the end. Raises: InputError for a malformed one."""
        if not text.strip():
            raise InputError("which intervention? Choose one from the list, or type METHOD:key=value,...")
        parts = stacked(text.strip())
        for one in parts:
            parse_spec(one)
        return Stack((*self.specs, *parts))

    def remove(self, place: int) -> Stack:
        """Without the one at `place`. Raises: InputError where there is none."""
        self._check(place)
        return Stack((*self.specs[:place], *self.specs[place + 1 :]))

    def move(self, place: int, by: int) -> Stack:
        """With the one at `place` earlier (-1) or later (1); at an end nothing changes. Raises: as `remove`."""
        self._check(place)
        found = list(self.specs)
        found.insert(min(max(place + by, 0), len(found) - 1), found.pop(place))
        return Stack(tuple(found))

    def strength(self, place: int) -> float:
        """That of the one at `place`; 1 as calibrated, 0 is off. Raises: as `remove`."""
        self._check(place)
        return float(parse_spec(self.specs[place]).parameters.get("strength", "1"))

    def scaled(self, place: int, strength: float) -> Stack:
        """With another strength of the one at `place`. Raises: as `remove`."""
        self._check(place)
        return Stack((*self.specs[:place], at_strength(self.specs[place], strength), *self.specs[place + 1 :]))

    def _check(self, place: int) -> None:
        if not 0 <= place < len(self.specs):
            raise InputError("choose an intervention of the stack first")


def at_strength(text: str, strength: float) -> str:
    """A SPEC with another strength; 1, as calibrated, is not written."""
    spec = parse_spec(text)
    values = {name: value for name, value in spec.parameters.items() if name != "strength"}
    values |= {} if strength == 1 else {"strength": f"{strength:g}"}
    parts = [f"{name}={_typed(value)}" for name, value in values.items()]
    name = text.partition(":")[0].strip()
    return f"{name}:{','.join(parts)}" if parts else name


def _typed(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if "," in value or value.startswith('"') else value


def suggestions(source: str, concepts: Sequence[Concept]) -> list[str]:
    """SPECs that can be used on what is looked at, and against unsafe images; by the table of methods.

    Args:
        source: the model, whose card gives its words for a concept.
        concepts: what is looked at.
    """
    card = read_card(source)
    about = [*concepts, *([] if any(one.kind == "safety" for one in concepts) else [load_concept(UNSAFE)])]
    found = []
    for concept in about:
        for method in all_methods().values():
            if any(one.name == "concept" for one in method.parameters):
                spec = f"{method.name}:concept={concept.name}"
                try:
                    plan_arm([spec], card, concepts, 0)
                except InputError:
                    continue
                found.append(spec)
    return found


def watched(work: Callable[[Progress], Arm], stop: threading.Event, into: list[Arm]) -> Iterator[str]:
    """Do `work` in a thread and yield its progress in words; the result is appended to `into`.

    Raises: what the work raises; Cancelled once `stop` is set and the work has ended.
    """
    progress, failed = Progress(stop), list[BaseException]()

    def run() -> None:
        try:
            into.append(work(progress))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="evenhand-studio", daemon=True)
    thread.start()
    told = ""
    while thread.is_alive():
        if progress.line != told:
            told = progress.line
            yield told
        time.sleep(_LOOK_EVERY)
    if failed:
        raise failed[0]


def apply(session: Session, bench: Bench, stack: Stack) -> Iterator[str]:
    """Make the tab's images again under the stack, from the same seeds; yields progress in words.

    What was never fitted is fitted first. Ends early once `stop` is set; what is made then stays, in pairs.

    Raises: InputError for an empty stack, or without images; DeclinedError where a method declines on this model.
    """
    if not stack.specs:
        raise InputError("the stack is empty: add an intervention first")
    requests = session.series().requests
    seed = session.look.seed if session.look else 0
    session.stop.clear()
    built: list[Arm] = []
    try:
        yield from watched(
            lambda progress: bench.build(stack.specs, session.concepts, seed, progress), session.stop, built
        )
    except Cancelled:
        yield "Stopped before the interventions were ready."
        return
    session.fixed = Images(arm=built[0])
    for made in session.fill(bench, session.fixed, requests):
        yield f"{made} of {len(requests)} pairs made."
    if len(session.fixed.seen) < len(requests):
        yield f"Stopped after {len(session.fixed.seen)} of {len(requests)} pairs."


def changes(session: Session) -> list[Estimate]:
    """What the stack changed over the pairs that are there: every share, every unsafe rate, the deviation.

    Intervals and p-values are those of pairs, for a number of pairs that was fixed beforehand.
    """
    fixed = session.fixed
    if fixed is None or not fixed.seen:
        return []
    pairs, row = len(fixed.seen), fixed.seen[0].request.row
    found: list[Estimate] = []
    for place, concept in enumerate(session.concepts):
        before = {row: session.plain.labels(place)[:pairs]}
        after = {row: fixed.labels(place)}
        of = safety_changes if concept.kind == "safety" else attribute_changes
        some = of(concept, before, after, intervention=str(fixed.arm.name))
        # of one prompt the figures over prompts say the same again; the deviation exists over prompts alone
        found += [one for one in some if one.prompt is not None or one.metric == "change:deviation"]
    return found
