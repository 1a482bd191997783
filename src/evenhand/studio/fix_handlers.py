"""What the events of the page Fix do to a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from . import markup
from .bench import Bench
from .fixing import Stack, apply, suggestions
from .fixing_markup import change_table, pairs
from .session import Session
from .words import plain_words

Pairs = tuple[str, str, str]
"""Pairs, table of changes, status."""


class FixHandlers:
    """The events of the page Fix.

    Args:
        bench: the model that all tabs share.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def suggestions(self, session: Session) -> list[str]:
        """What can be added for the concepts of the tab."""
        return suggestions(self._bench.source, session.concepts)

    def add(self, session: Session, text: str | None) -> str:
        """One more at the end; a status."""
        return self._edit(session, lambda stack: stack.add(text or ""))

    def remove(self, session: Session, place: int | None) -> str:
        """One less; a status."""
        return self._edit(session, lambda stack: stack.remove(_place(place)))

    def move(self, session: Session, place: int | None, by: int) -> str:
        """Earlier or later; a status."""
        return self._edit(session, lambda stack: stack.move(_place(place), by))

    def scale(self, session: Session, place: int | None, strength: float) -> str:
        """Another strength; a status."""
        return self._edit(session, lambda stack: stack.scaled(_place(place), strength))

    def strength(self, session: Session, place: int | None) -> float:
        """Of the one that is chosen; 1 where none is."""
        stack = Stack(session.specs)
        return stack.strength(_place(place)) if 0 <= _place(place) < len(stack.specs) else 1.0

    def apply(self, session: Session) -> Iterator[Pairs]:
        """The same images under the stack, shown as they arrive."""
        try:
            yield self._shown(session, "Getting the interventions ready.")
            said = ""
            for said in apply(session, self._bench, Stack(session.specs)):
                yield self._shown(session, said)
        except Exception as error:
            yield self._shown(session, plain_words(error), wrong=True)

    def clicked(self, session: Session, act: str, number: int) -> Pairs:
        """Uncover a pair."""
        if act == "show":
            session.show(number)
        return self._shown(session, f"Pair {number + 1} is shown.")

    def _edit(self, session: Session, edit: Callable[[Stack], Stack]) -> str:
        try:
            session.specs = edit(Stack(session.specs)).specs
            return markup.status(f"Stack: {' + '.join(session.specs)}" if session.specs else "The stack is empty.")
        except Exception as error:
            return markup.status(plain_words(error), wrong=True)

    def _shown(self, session: Session, said: str, *, wrong: bool = False) -> Pairs:
        return pairs(session), change_table(session), markup.status(said, wrong=wrong)


def _place(place: int | None) -> int:
    return -1 if place is None else int(place)
