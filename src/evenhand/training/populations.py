"""Winning and losing populations: images of one neutral prompt, with the declared shares and with the model's own.

The winners of a prompt are made from it with words that name a class, dealt at random from the target (exactly balanced
populations would lead past it, see `losses`); the losers from the prompt itself. Both sides have the same
template, are trained under the neutral prompt, and pass the same check by the fit judge at its decision boundary: a
winner shows the class that it was asked for, a loser one that can be told at all, and either is recognised as what its
prompt names. Keeping only what a judge is sure of would train caricatures.

For safety the sides are paired prompts: winners of the prompt that show nothing unsafe, losers of the prompt with an
unsafe part that do.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch

from evenhand.concepts.allocation import allocate, image_seed
from evenhand.concepts.prompts import PromptRow
from evenhand.concepts.wordings import caption_of
from evenhand.errors import DeclinedError, InputError
from evenhand.records import Request, Sample

Make = Callable[[Sequence[Request]], list[Sample]]
"""Images of requests, with their latents."""
Read = Callable[[Sequence[Sample]], list[tuple[str | None, str | None]]]
"""For each image the class that is perceived, and the prompt row that it is recognised as (None: nobody can tell)."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is built.

    Args:
        rows: neutral prompts.
        target: class -> share among the winners.
        words: class -> words that name it, added to a prompt after a comma; "" takes the prompt as it is.
        losing: what the prompts of losers have in addition, in turn; empty for the neutral prompt.
        losers_show: the class that a loser must show; None for any that can be told.
        side: images on either side of a population.
        populations: pairs of populations for each row.
        tries: images that are made for each that is wanted, at most.
        round: 0 makes both sides; a later one losers alone (see `refreshed`).
        seed: of the run.
    """

    rows: tuple[PromptRow, ...]
    target: Mapping[str, float]
    words: Mapping[str, str]
    losing: tuple[str, ...] = ()
    losers_show: str | None = None
    side: int = 4
    populations: int = 6
    tries: int = 4
    round: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.rows:
            raise InputError("no prompts to build populations of; give a concept whose prompt set the model knows")
        if min(self.side, self.populations) < 1:
            raise InputError(f"side={self.side} and populations={self.populations}, expected 1 or more of each")
        missing = [name for name, share in self.target.items() if share > 0 and name not in self.words]
        if missing:
            raise InputError(f"there are no words for the class {missing[0]!r}; give some for every class")

    @property
    def composition(self) -> Literal["stratified", "iid"]:
        """How classes of winners come about: by quotas of a row, which are dealt, or "iid" where it has one population.

        A population that holds the target exactly leads past it, as that one would (see `losses`).
        """
        return "stratified" if self.populations > 1 else "iid"

    @property
    def images(self) -> int:
        """The fewest that will be made: those that are rejected are made again."""
        return (1 if self.round else 2) * self.side * self.populations * len(self.rows)

    def refreshed(self, number: int) -> Plan:
        """The same plan for losers that take the place of others, the `number`-th time; from 1 on."""
        return dataclasses.replace(self, round=number)

    def mark(self) -> dict[str, Any]:
        """Everything that decides what is made."""
        rows = [[row.name, row.phrase, list(row.templates)] for row in self.rows]
        return {**dataclasses.asdict(self), "rows": rows, "target": dict(self.target), "words": dict(self.words)}

    def describe(self, steps: int, images_per_second: float | None = None, *, guided: bool = True) -> str:
        """One line: images, denoiser evaluations, and minutes where a rate is known."""
        evaluations = (2 if guided else 1) * steps * self.images
        text = f"{self.images:,} images ({len(self.rows)} prompts), {evaluations:,} denoiser evaluations"
        return text if images_per_second is None else f"{text}, {self.images / images_per_second / 60:.1f} minutes"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slot:
    """One image that is wanted: its caption in training, the prompt that makes it, and the class it must show."""

    row: str
    caption: str
    prompt: str
    population: int
    winner: bool
    shown: str | None
    index: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """One image that passed: its slot, the class that is perceived, its seed and latents."""

    slot: Slot
    label: str
    seed: int
    latents: torch.Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tried:
    """One image that was made for a slot: why it was rejected, "" where it was kept, with its latents and pixels."""

    slot: Slot
    attempt: int
    seed: int
    label: str | None
    reason: str
    latents: torch.Tensor | None = None
    image: np.ndarray | None = None


class Store(Protocol):
    """Where a build keeps what it has tried, so that it goes on where it was killed."""

    def tried(self) -> list[Tried]:
        """Everything that was kept before."""
        ...

    def add(self, tried: Sequence[Tried]) -> None:
        """Keep more."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Populations:
    """What was built, and why images were rejected, by side and reason."""

    images: tuple[Made, ...]
    rejected: Mapping[str, int]
    made: int


def slots(plan: Plan) -> list[Slot]:
    """Every image of a plan, population by population, winners first."""
    found: list[Slot] = []
    for place, row in enumerate(plan.rows):
        for number in range(plan.populations):
            caption = caption_of(row, number)
            for winner in (False,) if plan.round else (True, False):
                for index in range(number * plan.side, (number + 1) * plan.side):
                    shown, prompt = _asked(plan, row, caption, index) if winner else _losing(plan, caption, index)
                    found.append(
                        Slot(
                            row=row.name,
                            caption=caption,
                            prompt=prompt,
                            population=place * plan.populations + number,
                            winner=winner,
                            shown=shown,
                            index=index,
                        )
                    )
    return found


def _asked(plan: Plan, row: PromptRow, caption: str, index: int) -> tuple[str, str]:
    """The class of a winner, and the prompt that asks for it."""
    place = _dealt(plan, row.name)[index]
    shown = allocate(plan.target, plan.seed, row.name, place, plan.composition)
    return shown, naming(caption, plan.words[shown])


def naming(caption: str, words: str) -> str:
    """A caption with the words that name a class; without words the caption itself."""
    return f"{caption}, {words}" if words else caption


def _dealt(plan: Plan, row: str) -> list[int]:
    """A random order of a row's winners.

    The quotas are those of the row as a whole and are dealt to its populations like cards: what one population holds
    varies as with independent draws, and all of them together hold the target. Drawn independently, 32 winners of an
    even target have a share of .5 give or take .09, and the model learns that share.
    """
    places = range(plan.side * plan.populations)
    return sorted(places, key=lambda place: image_seed(plan.seed, "fit", f"{row} deal", place))


def _losing(plan: Plan, caption: str, index: int) -> tuple[str | None, str]:
    """The class of a loser, where it must show one, and its prompt."""
    more = f" {plan.losing[index % len(plan.losing)]}" if plan.losing else ""
    return plan.losers_show, f"{caption}{more}"


def build(
    plan: Plan, make: Make, read: Read, *, store: Store | None = None, chunk: int = 64, partial: bool = False
) -> Populations:
    """Make and check every image; one that is rejected is made again from another seed, as often as the plan allows.

    A winner keeps its class when it is made again, so that the shares stay those of the target.

    Args:
        plan: what is built.
        make: images of requests.
        read: what they show.
        store: keeps every image as soon as it is read; what lies there is not made again.
        chunk: images between two writes of the store.
        partial: leaves images out that nothing brought through the check.

    Raises:
        DeclinedError: an image that nothing brought through the check, with the reasons; unless `partial`.

    Cost: the plan's images, and those that were rejected.
    """
    kept: dict[Slot, Made] = {}
    attempts: collections.Counter[Slot] = collections.Counter()
    rejected: collections.Counter[str] = collections.Counter()

    def count(some: Sequence[Tried]) -> None:
        for one in some:
            attempts[one.slot] += 1
            if one.reason or one.label is None or one.latents is None:
                rejected[f"{'winner' if one.slot.winner else 'loser'}: {one.reason}"] += 1
            else:
                kept[one.slot] = Made(slot=one.slot, label=one.label, seed=one.seed, latents=one.latents)

    wanted = slots(plan)
    count(store.tried() if store else ())
    while open_slots := [one for one in wanted if one not in kept and attempts[one] < plan.tries]:
        # those that were tried least come first, so that every image is asked for before any is made again
        least = min(attempts[one] for one in open_slots)
        some = [one for one in open_slots if attempts[one] == least][:chunk]
        tried = _try(some, least, plan, make, read)
        if store:
            store.add(tried)
        count(tried)
    missing = [one for one in wanted if one not in kept]
    if missing and not partial:
        raise DeclinedError(_left_empty(plan, wanted, missing, rejected))
    return Populations(
        images=tuple(kept[one] for one in wanted if one in kept), rejected=dict(rejected), made=attempts.total()
    )


def _left_empty(plan: Plan, wanted: Sequence[Slot], missing: Sequence[Slot], rejected: collections.Counter[str]) -> str:
    """What the check left empty: the prompt that lacks most, and why images were rejected in all."""
    (prompt, lacking), *_ = collections.Counter(one.prompt for one in missing).most_common(1)
    of = sum(one.prompt == prompt for one in wanted)
    reasons = ", ".join(f"{number} {reason}" for reason, number in rejected.most_common())
    return (
        f"{len(missing)} of {len(wanted)} images passed no check in {plan.tries} tries; "
        f'most are lacking of "{prompt}", {lacking} of {of} ({reasons}); '
        "the model may not obey these words: give others with words=, or leave that prompt out"
    )


def _try(some: Sequence[Slot], attempt: int, plan: Plan, make: Make, read: Read) -> list[Tried]:
    """One image for each of some slots."""
    samples = make([_request(slot, plan, attempt) for slot in some])
    found = []
    for slot, sample, (label, row) in zip(some, samples, read(samples), strict=True):
        reason = _reason(slot, label, row)
        if not reason and sample.latents is None:
            reason = "no picture"
        found.append(
            Tried(
                slot=slot,
                attempt=attempt,
                seed=sample.request.seed,
                label=label,
                reason=reason,
                latents=None if reason or sample.latents is None else torch.from_numpy(sample.latents),
                image=None if reason else sample.image,
            )
        )
    return found


def _request(slot: Slot, plan: Plan, attempt: int) -> Request:
    """Winner and loser of one number start from the same noise, so that as little as can be differs by chance."""
    return Request(
        row=slot.row,
        prompt=slot.prompt,
        index=slot.index,
        seed=image_seed(plan.seed, "fit", f"{slot.row} {attempt}", slot.index),
    )


def _reason(slot: Slot, label: str | None, row: str | None) -> str:
    """Why an image is rejected; "" where it is not. The same rule on both sides, but for the class asked for."""
    if label is None:
        return "the judge abstains"
    if row is not None and row != slot.row:
        return "shows something else"
    return "shows another class" if slot.shown is not None and label != slot.shown else ""
