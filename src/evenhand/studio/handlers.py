"""What the page's events do to a session. Nothing here draws: outputs are HTML and texts, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..concepts.library import concept_names, load_concept
from ..concepts.reading import read_text
from ..errors import InputError
from ..verbs.config import Question
from ..verbs.series import concepts_of
from . import markup
from .bench import Bench
from .look import FOLDER, Look, target_text
from .policy_file import policy_text, write_policy
from .session import Session
from .takeaway import command, config_of, python_lines, save_fits, write_run
from .target_file import targets_of_csv
from .words import count, plain_words

Shown = tuple[str, str, str]
"""Gallery, shares, status."""
SLIDERS = 6
"""A concept with more classes has its target typed."""


class Handlers:
    """The events of a page.

    Args:
        bench: the model that all tabs share.
        judge: as typed, for the command line.
        folder: where files go.
    """

    def __init__(self, bench: Bench, *, judge: str | None = None, folder: Path = FOLDER) -> None:
        self.bench, self._judge, self._folder = bench, judge, folder

    def concepts(self) -> list[str]:
        """The concepts that ship and that the judge knows."""
        return [name for name in concept_names() if self.bench.judge.knows(load_concept(name))]

    def look(
        self, prompt: str, concepts: list[str], phrases: tuple[str, str], targets: str, seed: float | None
    ) -> Look:
        """The form as a record. Raises: InputError for what cannot be used."""
        present, absent = ((one or "").strip() for one in phrases)  # Gradio gives None for a field never touched
        if bool(present) != bool(absent):
            raise InputError("two phrases make a concept: say what an image with it shows, and what one without it")
        if seed is None or seed != int(seed):
            raise InputError(f"seed {seed}: expected a whole number of 0 or more")
        lines = tuple(line.strip() for line in (targets or "").splitlines() if line.strip())
        return Look(
            source=self.bench.source,
            prompt=prompt,
            concepts=tuple(concepts),
            phrases=(present, absent) if present else None,
            targets=lines,
            seed=int(seed),
            judge=self._judge,
            image=self.bench.image,
            model=self.bench.options,
            folder=self._folder,
        )

    def make(
        self,
        session: Session,
        prompt: str,
        concepts: list[str],
        present: str,
        absent: str,
        targets: str,
        seed: float | None,
        images: float | None,
    ) -> Iterator[Shown]:
        """Further images of the form's look, shown as they arrive."""
        try:
            if images is None or images < 1:
                raise InputError("how many images? Give a whole number of 1 or more")
            session.begin(self.look(prompt, concepts, (present, absent), targets, seed))
            wanted = int(images)
            yield self._shown(session, f"Making {count(wanted, 'image')}: the first ones come in a moment.")
            first = len(session.plain.seen)
            for made in session.grow(self.bench, wanted):
                yield self._shown(session, f"{made - first} of {count(wanted, 'image')} made.")
            made = len(session.plain.seen) - first
            if made < wanted:
                yield self._shown(session, f"Stopped after {made} of {count(wanted, 'image')}. What is here stays.")
            else:
                yield self._shown(session, f"{count(len(session.plain.seen), 'image')}. You may stop here, or go on.")
        except Exception as error:
            yield self._shown(session, plain_words(error), wrong=True)

    def retarget(
        self,
        session: Session,
        prompt: str,
        concepts: list[str],
        present: str,
        absent: str,
        targets: str,
        seed: float | None,
    ) -> Shown:
        """Another target for the images that are there."""
        try:
            asked = self.look(prompt, concepts, (present, absent), targets, seed)
            if session.look is None:
                return self._shown(session, "The target is taken with the first images.")
            session.begin(asked)
            return self._shown(session, "The shares are held against the new target.")
        except Exception as error:
            return self._shown(session, plain_words(error), wrong=True)

    def clicked(self, session: Session, act: str, number: int) -> Shown:
        """A button of an image: uncover it, or dispute what the judge says."""
        if not 0 <= number < len(session.plain.seen):
            return self._shown(session, "")
        if act == "show":
            session.show(number)
            return self._shown(session, f"Image {number + 1} is shown.")
        session.dispute(number)
        total = count(len(session.disputed), "disputed image")
        return self._shown(session, f"{total}. They are kept apart: no share changes, since whoever clicks chooses.")

    def stop(self, session: Session) -> str:
        """Ends the work of this tab at its next step."""
        session.stop.set()
        return markup.status("Stopping.")

    def sliders(self, name: str | None) -> list[str]:
        """The classes of a concept that has sliders, at most `SLIDERS`; none where it has too many, or no target."""
        if not name:
            return []
        concept = load_concept(name)
        fits = concept.kind == "attribute" and len(concept.class_names) <= SLIDERS
        return list(concept.class_names) if fits else []

    def slid(self, name: str | None, targets: str, weights: list[float]) -> str:
        """The typed targets with that of the sliders in place of the concept's own."""
        if not name:
            return targets
        concept = load_concept(name)
        mine = target_text(concept, weights[: len(concept.class_names)])
        others = [
            line for line in (targets or "").splitlines() if line.strip() and line.partition("=")[0].strip() != name
        ]
        return "\n".join([*others, mine])

    def target_file(
        self, path: str | None, concepts: list[str], present: str, absent: str, targets: str
    ) -> tuple[str, str]:
        """The typed targets with those of a CSV file in place of the same concepts' own, and a status."""
        try:
            question = Question(
                concepts=tuple(concepts), phrases=(present, absent) if present and absent else None, benign=False
            )
            found = targets_of_csv(read_text(Path(path or "")), concepts_of(question))
            mine = {line.partition("=")[0] for line in found}
            others = [line for line in (targets or "").splitlines() if line.partition("=")[0].strip() not in mine]
            return "\n".join([*(line for line in others if line.strip()), *found]), markup.status("The file is read.")
        except Exception as error:
            return targets, markup.status(plain_words(error), wrong=True)

    def take_away(self, session: Session) -> tuple[str, str, str]:
        """The command, the Python lines, and a status."""

        def work() -> tuple[tuple[str, str], str]:
            if session.specs:
                config = config_of(session, self.bench, specs=[" + ".join(session.specs)], any_time=False)
                said = "This compares the same images without and with the stack, and the free baselines beside it."
                return (command(config, "compare"), python_lines(config, "compare")), said
            config = config_of(session, self.bench)
            return (command(config), python_lines(config)), "These make the same images and state the same numbers."

        return self._safely(work, ("", ""))

    def policy(self, session: Session) -> tuple[str, str]:
        """The policy's text and a status."""

        def work() -> tuple[tuple[str], str]:
            text = policy_text(session.specs, session.concepts)
            path, _ = write_policy(text, self._folder)
            return (text,), f"In {path}: evenhand serve {self.bench.source} --policy {path}"

        return self._safely(work, ("",))

    def saved(self, session: Session) -> str:
        """A status that names the folders of what was fitted."""

        def work() -> tuple[tuple[()], str]:
            folder = self._folder / "interventions"
            found = self.bench.do(lambda: save_fits(session.specs, session, self.bench, folder))
            if not found:
                return (), "Nothing in the stack was fitted: its SPECs in the command line are all there is to it."
            return (), f"Saved for --with: {', '.join(str(one) for one in found)}"

        return self._safely(work, ())[0]

    def report(self, session: Session) -> tuple[str | None, str]:
        """The report's path and a status."""

        def work() -> tuple[tuple[str], str]:
            path = self.bench.do(lambda: write_run(session, self.bench))
            return (str(path),), f"The run and its report are in {path.parent}."

        return self._safely(work, (None,))

    def _safely(self, work: Callable[[], tuple[tuple[Any, ...], str]], empty: tuple[Any, ...]) -> Any:
        try:
            found, said = work()
            return (*found, markup.status(said))
        except Exception as error:
            return (*empty, markup.status(plain_words(error), wrong=True))

    def _shown(self, session: Session, said: str, *, wrong: bool = False) -> Shown:
        return markup.gallery(session), markup.shares(session), markup.status(said, wrong=wrong)
