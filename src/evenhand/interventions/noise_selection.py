"""Selection of the initial noise: several are tried for a few steps, one that will show the wanted class is finished.

An image's own noise is tried first, so an image that shows its class already stays. Further noises are drawn from a
seed that the first decides. After a share of the steps the denoiser's own predictions say what the image will show
(see `implied_classes`); a noise whose log-odds of the wanted class reach a bar is finished, and they are read once
more on the way: where they say another class, the search goes on. The law of the noise is the plain one given the
class, as far as the readings are right: it costs log(1 / natural share) nats for an assigned class, and within a class
nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.host.rehearsal import Rehearsal, seed_of
from evenhand.host.sites import Call, Site
from evenhand.interventions.implied_classes import ImpliedReading, Words


def log_odds(chances: torch.Tensor, place: int) -> torch.Tensor:
    """Of one class against all others, from log-probabilities with the classes last."""
    others = torch.cat([chances[..., :place], chances[..., place + 1 :]], dim=-1)
    return chances[..., place] - others.logsumexp(dim=-1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an image is to show, and the log-odds from which on a noise is finished and taken to show it."""

    name: str
    least: float
    shown: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseSelection:
    """An intervention that chooses among initial noises.

    Args:
        name: how reports call it.
        factors: attributes, each with the words that name its classes behind a prompt.
        classes: class -> its class of each factor; the factors are taken as independent given the latents.
        look: share of the steps, above 0 and below 1, after which a noise is finished or dropped.
        verify: share of the steps at which the class of one that is finished is read.
        wanted: for each image of a call what it is to show; None leaves it alone.
        tries: noises that an image may try; then the finished one that shows the class most is kept.
        strength: 1 is on, 0 is off; there is nothing between.

    Cost: `look` of the evaluations for each noise that is tried, and all of them for each that is finished; one
    denoiser row per class for each reading of either kind.
    """

    name: str
    factors: tuple[Words, ...]
    classes: Mapping[str, tuple[str, ...]]
    look: float
    verify: float
    wanted: Callable[[Call], Sequence[Wanted | None]]
    tries: int = 128
    strength: float = 1.0
    site: Site = "selection"

    def scaled(self, strength: float) -> NoiseSelection:
        """The same selection, off at 0."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Whether the pipeline can try noises is known when it is called."""

    def begin(self, call: Call) -> NoiseSelectionEffect | None:
        """The effect on one call; None where no image has a class to show."""
        wanted = tuple(self.wanted(call))
        return NoiseSelectionEffect(self, wanted) if any(wanted) else None

    def read(self, chances: Sequence[torch.Tensor]) -> torch.Tensor:
        """Log-probabilities of the classes, (images, classes), from the chances of each factor."""
        columns = [
            torch.stack(
                [
                    some[:, tuple(words).index(part)].log()
                    for some, words, part in zip(chances, self.factors, parts, strict=True)
                ]
            ).sum(dim=0)
            for parts in self.classes.values()
        ]
        return torch.stack(columns, dim=1)


@dataclasses.dataclass
class _Search:
    """One image's search."""

    row: int
    place: int  # of the wanted class
    wanted: Wanted
    own: torch.Tensor
    tried: int = 0
    finished: int = 0
    accepted: torch.Tensor | None = None
    best: tuple[float, torch.Tensor] | None = None  # of what was looked at: log-odds and noise
    latents: torch.Tensor | None = None
    seen: float = -math.inf  # log-odds of the class on the way to the end
    shown: bool = False

    def next_noise(self) -> torch.Tensor:
        """The image's own noise first, then others."""
        number, self.tried = self.tried, self.tried + 1
        if number == 0:
            return self.own
        rng = torch.Generator("cpu").manual_seed(seed_of(self.own, number))
        return torch.randn(self.own.shape, generator=rng).to(self.own)

    def looked(self, noise: torch.Tensor, chances: torch.Tensor) -> None:
        """What is read of a noise after a few steps."""
        odds = float(log_odds(chances, self.place))
        if self.best is None or odds > self.best[0]:
            self.best = (odds, noise)
        if odds >= self.wanted.least:
            self.accepted = noise

    def ended(self, latents: torch.Tensor, chances: torch.Tensor) -> None:
        """What was read on the way to finished latents."""
        self.finished += 1
        self.accepted = None
        odds = float(log_odds(chances, self.place))
        if odds > self.seen:
            self.seen, self.latents = odds, latents
        self.shown = odds >= self.wanted.shown


class NoiseSelectionEffect:
    """One call."""

    def __init__(self, selection: NoiseSelection, wanted: Sequence[Wanted | None]) -> None:
        self._selection, self._wanted = selection, wanted
        self._records: list[dict[str, Any]] = [{"tried": 0, "finished": 0} for _ in wanted]

    def choose(self, noise: torch.Tensor, rehearse: Rehearsal) -> torch.Tensor:
        """Finished latents for every image of the call, from its own noise or from another."""
        classes = tuple(self._selection.classes)
        searches = [
            _Search(row=row, place=classes.index(one.name), wanted=one, own=noise[row])
            for row, one in enumerate(self._wanted)
            if one is not None
        ]
        found: dict[int, torch.Tensor] = {}
        alone = [row for row, one in enumerate(self._wanted) if one is None]
        if alone:
            found.update(zip(alone, rehearse(alone, noise[alone], 1.0), strict=True))
        while pending := [one for one in searches if not one.shown and one.tried < self._selection.tries]:
            self._look(pending, rehearse)
            self._finish([one for one in pending if one.accepted is not None], rehearse)
        self._finish([one for one in searches if one.latents is None], rehearse)
        for one in searches:
            found[one.row] = one.latents  # type: ignore[assignment]
            self._records[one.row] = {"tried": one.tried, "finished": one.finished, "shown": one.shown}
        return torch.stack([found[row] for row in range(len(noise))])

    def evidence(self) -> Sequence[dict[str, Any]]:
        """Per image: noises tried and finished, and whether the class was read on the way."""
        return self._records

    def _look(self, pending: Sequence[_Search], rehearse: Rehearsal) -> None:
        """One more noise for every search; all go through the steps together."""
        noises = torch.stack([one.next_noise() for one in pending])
        rows = [one.row for one in pending]
        _, chances = self._rehearsed(rehearse, rows, noises, self._selection.look, self._selection.look)
        for one, noise, row in zip(pending, noises, chances, strict=True):
            one.looked(noise, row)

    def _finish(self, accepted: Sequence[_Search], rehearse: Rehearsal) -> None:
        if not accepted:
            return
        noises = torch.stack([one.best[1] if one.accepted is None else one.accepted for one in accepted])  # type: ignore[index]
        rows = [one.row for one in accepted]
        latents, chances = self._rehearsed(rehearse, rows, noises, 1.0, self._selection.verify)
        for one, row, seen in zip(accepted, latents, chances, strict=True):
            one.ended(row, seen)

    def _rehearsed(
        self, rehearse: Rehearsal, rows: Sequence[int], noises: torch.Tensor, share: float, read: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents after a share of the steps, and log-probabilities of the classes as read at another."""
        reading = ImpliedReading(rehearse.prompts(rows), self._selection.factors, (read,))
        latents = rehearse(rows, noises, share, reading)
        return latents, self._selection.read(reading.chances(read))
