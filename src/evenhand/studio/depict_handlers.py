"""What the events of the part about groups do to a session."""

from __future__ import annotations

from collections.abc import Iterator

from ..concepts.library import load_concept
from . import markup
from .depicting import begin_depiction, depict
from .depicting_markup import association_images, association_table
from .handlers import Handlers
from .session import Session
from .words import plain_words

Shown = tuple[str, str, str]
"""Images, table, status."""


class DepictHandlers:
    """The events of the part about groups.

    Args:
        handlers: of the page Look, which reads the form.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers

    def groups(self) -> list[str]:
        """The concepts whose classes a prompt can name."""
        return [name for name in self._handlers.concepts() if load_concept(name).kind == "attribute"]

    def compare(
        self,
        session: Session,
        prompt: str,
        seed: float | None,
        group: str | None,
        attributes: str | None,
        images: float | None,
    ) -> Iterator[Shown]:
        """The prompt with each group named in turn; images and table as they come."""
        try:
            look = self._handlers.look(prompt, [group] if group else ["gender"], ("", ""), "", seed)
            judge = self._handlers.bench.judge
            wanted = begin_depiction(look, group or "", attributes or "", int(images or 0), judge)
            yield self._images(session, "Making the first images.")
            said = f"{wanted.config.effort.images} images of each group, from the same seeds."
            for told in depict(session, self._handlers.bench, wanted):
                said = told
                yield self._images(session, told)
            yield self._shown(session, said)
        except Exception as error:
            yield self._shown(session, plain_words(error), wrong=True)

    def clicked(self, session: Session, act: str, number: int) -> Shown:
        """Uncover an image."""
        if act == "show" and session.depicted is not None:
            session.depicted.shown.add(number)
        return self._shown(session, "The image is shown.")

    def _images(self, session: Session, said: str) -> Shown:
        """While images arrive the table waits: its intervals are for a number that was fixed beforehand."""
        waiting = markup.status("The differences are stated when all images are there, or at Stop.")
        return association_images(session.depicted), waiting, markup.status(said)

    def _shown(self, session: Session, said: str, *, wrong: bool = False) -> Shown:
        bench = self._handlers.bench
        table = bench.do(lambda: association_table(session.depicted, bench.judge))
        return association_images(session.depicted), table, markup.status(said, wrong=wrong)
