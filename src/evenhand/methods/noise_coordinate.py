"""One concept's coordinate along its direction of the noise, and the laws that give it shares or a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from evenhand.concepts.concept import Concept
from evenhand.interventions.noise_laws import Law, between, mixture, reaching, reflected, shifted
from evenhand.methods.noise_calibration import CLEAR, LEAST, law_of_shares
from evenhand.methods.probit import Handle

SUCCESS = 0.97
"""How often an assigned class is to be shown, in mode label."""
DRAWS = (LEAST, CLEAR, "shift", "mixture", "truncated", "antithetic", "additive")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One concept's direction with its handle, and what is wanted along it.

    Args:
        concept: what it is about.
        handle: how the coordinate decides.
        order: the classes from the direction's negative end to its positive one.
        draw: form of the law, one of `DRAWS`.
        sure: of `clear`; None with the others.
        weight: of the additive form.
    """

    concept: Concept
    handle: Handle
    order: tuple[str, ...]
    draw: str
    sure: float | None
    weight: float

    def to_share(self, row: str, target: Mapping[str, float]) -> Law:
        """The law under which images of a row have the target's shares."""
        wanted = [target.get(name, 0.0) for name in self.order]
        if self.draw == "shift":
            return shifted(self._shift(row, wanted))
        if self.draw == "mixture":
            return mixture([self._shift_to(row, place) for place in range(len(self.order))], wanted)
        return law_of_shares(self.handle, row, wanted, self.sure)

    def to_class(self, row: str, name: str) -> Law:
        """The law under which an image of a row shows a class."""
        place = self.order.index(name)
        sign = 1 if place == len(self.order) - 1 else -1
        if self.draw == "additive":
            return shifted(sign * self.weight)
        if self.draw == "antithetic":
            return reflected(sign)
        if self.draw == "truncated":
            return between(*self._region(row, place))
        if self.draw in ("shift", "mixture"):
            return shifted(self._shift_to(row, place))
        return reaching(lambda places: self.handle.chances(row, places), place, SUCCESS)

    def _region(self, row: str, place: int) -> tuple[float, float]:
        """Where this class is the likeliest, from cut to cut."""
        cuts = self.handle.cuts_of(row) / self.handle.slope_of(row)
        edges = np.concatenate([[-np.inf], cuts, [np.inf]])
        return float(edges[place]), float(edges[place + 1])

    def _shift(self, row: str, wanted: Sequence[float]) -> float:
        """The one shift that comes nearest to the shares; exact for two classes."""
        by = np.linspace(-8, 8, 1601)
        above = np.cumsum(wanted[::-1])[::-1][1:]
        got = np.stack([self._above(row, one) for one in by])
        return float(by[int(((got - above) ** 2).sum(axis=1).argmin())])

    def _shift_to(self, row: str, place: int) -> float:
        """The smallest shift that shows a class often enough, else the one that shows it most often."""
        by = sorted(np.linspace(-8, 8, 1601), key=abs)
        shown = np.array([self._shares(row, one)[place] for one in by])
        enough = np.flatnonzero(shown >= SUCCESS)
        return float(by[int(enough[0])] if len(enough) else by[int(shown.argmax())])

    def _above(self, row: str, by: float) -> np.ndarray:
        return np.cumsum(self._shares(row, by)[::-1])[::-1][1:]

    def _shares(self, row: str, by: float) -> np.ndarray:
        moved = tuple(self.handle.cuts_of(row) - self.handle.slope_of(row) * by)
        return dataclasses.replace(self.handle, cuts={row: moved}).natural(row)
