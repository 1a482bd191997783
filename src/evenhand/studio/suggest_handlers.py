"""What the events of the part about suggestions do to a session."""

from __future__ import annotations

from collections.abc import Iterator

from . import markup
from .bench import Bench
from .session import Session
from .suggesting import try_out
from .suggesting_markup import suggestion
from .words import plain_words

Suggested = tuple[str, str]
"""What was found, and a status."""


class SuggestHandlers:
    """The events of the part about suggestions.

    Args:
        bench: the model that all tabs share.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def concepts(self, session: Session) -> list[str]:
        """What a suggestion can be about."""
        return [one.name for one in session.concepts]

    def suggest(self, session: Session, concept: str | None, images: float | None) -> Iterator[Suggested]:
        """Try what is ready, and say what the rules choose."""
        try:
            yield suggestion(None), markup.status("Getting ready what can be tried.")
            said = ""
            for said in try_out(session, self._bench, concept or "", int(images or 0)):
                yield suggestion(session.suggestion), markup.status(said)
            if session.suggestion is not None:
                yield suggestion(session.suggestion), markup.status("The trial is over.")
        except Exception as error:
            yield suggestion(session.suggestion), markup.status(plain_words(error), wrong=True)

    def take(self, session: Session) -> str:
        """The suggestion in place of the stack; a status."""
        if session.suggestion is None or session.suggestion.spec is None:
            return markup.status("There is no suggestion to take: ask for one first.")
        session.specs = (session.suggestion.spec,)
        return markup.status(f"Stack: {session.suggestion.spec}. Make the same images with it to see what it does.")
