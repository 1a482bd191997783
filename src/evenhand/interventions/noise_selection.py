"""Selection of the initial noise: several are tried for a few steps, one that will show the wanted class is finished.

An image's own noise is tried first, so an image that shows its class already stays. Further noises are drawn from a
seed that the first decides. A reader looks at the latents after a share of the steps; a noise whose log-odds of the
wanted class reach a bar is finished, and a second reader looks at the end: where it sees another class, the search goes
on. The law of the noise is the plain one given the class, as far as the readers are right: it costs
log(1 / natural share) nats for an assigned class, and within a class nothing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from evenhand.host.rehearsal import Rehearsal, seed_of
from evenhand.host.sites import Call, Site


def log_odds(chances: torch.Tensor, place: int) -> torch.Tensor:
    """Of one class against all others, from log-probabilities with the classes last."""
    others = torch.cat([chances[..., :place], chances[..., place + 1 :]], dim=-1)
    return chances[..., place] - others.logsumexp(dim=-1)


class Reader(Protocol):
    """Log-probabilities of the classes."""

    @property
    def classes(self) -> tuple[str, ...]:
        """In the order of its answers."""
        ...

    def __call__(self, noise: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        """(rows, classes) from initial noises and what the pipeline made of them."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoiseSelection:
    """An intervention that chooses among initial noises.

    Args:
        name: how reports call it.
        early: reads latents after `share` of the steps.
        late: reads finished latents.
        share: of the steps, above 0 and below 1.
        wanted: for each image of a call the class that it is to show and the least log-odds at which a noise is
            finished; None leaves it alone.
        tries: noises that an image may try; then the finished one that shows the class most is kept.
        strength: 1 is on, 0 is off; there is nothing between.

    Cost: `share` of the evaluations for each noise that is tried, and all of them for each that is finished; the
    image itself costs nothing more.
    """

    name: str
    early: Reader
    late: Reader
    share: float
    wanted: Callable[[Call], Sequence[tuple[str, float] | None]]
    tries: int = 64
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


@dataclasses.dataclass
class _Search:
    """One image's search."""

    row: int
    place: int  # of the wanted class
    least: float  # log-odds
    own: torch.Tensor
    tried: int = 0
    finished: int = 0
    accepted: torch.Tensor | None = None
    best: tuple[float, torch.Tensor] | None = None  # of what was looked at: log-odds and noise
    latents: torch.Tensor | None = None
    seen: float = -math.inf  # log-probability of the class at the end
    shown: bool = False

    def next_noise(self) -> torch.Tensor:
        """The image's own noise first, then others."""
        number, self.tried = self.tried, self.tried + 1
        if number == 0:
            return self.own
        rng = torch.Generator("cpu").manual_seed(seed_of(self.own, number))
        return torch.randn(self.own.shape, generator=rng).to(self.own)

    def looked(self, noise: torch.Tensor, chances: torch.Tensor) -> None:
        """What the early reader says of a noise."""
        odds = float(log_odds(chances, self.place))
        if self.best is None or odds > self.best[0]:
            self.best = (odds, noise)
        if odds >= self.least:
            self.accepted = noise

    def ended(self, latents: torch.Tensor, chances: torch.Tensor) -> None:
        """What the late reader says of finished latents."""
        self.finished += 1
        self.accepted = None
        chance = float(chances[self.place])
        if chance > self.seen:
            self.seen, self.latents = chance, latents
        self.shown = self.shown or int(chances.argmax()) == self.place


class NoiseSelectionEffect:
    """One call."""

    def __init__(self, selection: NoiseSelection, wanted: Sequence[tuple[str, float] | None]) -> None:
        self._selection, self._wanted = selection, wanted
        self._records: list[dict[str, Any]] = [{"tried": 0, "finished": 0} for _ in wanted]

    def choose(self, noise: torch.Tensor, rehearse: Rehearsal) -> torch.Tensor:
        """Finished latents for every image of the call, from its own noise or from another."""
        classes = self._selection.early.classes
        searches = [
            _Search(row=row, place=classes.index(one[0]), least=one[1], own=noise[row])
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
        """Per image: noises tried and finished, and whether the late reader saw the class."""
        return self._records

    def _look(self, pending: Sequence[_Search], rehearse: Rehearsal) -> None:
        """One more noise for every search; all go through the steps together."""
        noises = torch.stack([one.next_noise() for one in pending])
        latents = rehearse([one.row for one in pending], noises, self._selection.share)
        chances = self._selection.early(noises, latents)
        for one, noise, row in zip(pending, noises, chances, strict=True):
            one.looked(noise, row)

    def _finish(self, accepted: Sequence[_Search], rehearse: Rehearsal) -> None:
        if not accepted:
            return
        noises = torch.stack([one.best[1] if one.accepted is None else one.accepted for one in accepted])  # type: ignore[index]
        latents = rehearse([one.row for one in accepted], noises, 1.0)
        for one, row, chances in zip(accepted, latents, self._selection.late(noises, latents), strict=True):
            one.ended(row, chances)
