"""The fits of a joint look and check together: after which shares of the steps, and by which bars.

Early on chances say less than later, so a bar holds for the share of the steps at which it was measured alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evenhand.concepts.concept import JOINT, Concept
from evenhand.errors import InputError
from evenhand.interventions.storage import Card

NAME = "noise-selection"
LEAST, SHOWN = "least", "shown"
"""Tables of a card: log-odds from which on a noise is finished, and from which on it is taken to show its class."""
_OWN = {LEAST: "look", SHOWN: "check"}
_FIGURES = {LEAST: "expected_cost", SHOWN: "accuracy"}


def key_at(which: str, name: str, share: float) -> str:
    """Key of a class's table at another share of the steps than the card's own."""
    return f"{which} {name} at {share:g}"


def table_of(card: Card, which: str, name: str, share: float) -> Mapping[str, float]:
    """Row -> log-odds of a class, as measured at a share of the steps that the card knows."""
    own = card.calibration[_OWN[which]][""]
    return card.calibration[f"{which} {name}" if share == own else key_at(which, name, share)]


def common_share(cards: Sequence[Card], which: str) -> float:
    """The share of the steps after which all look (or at which all check), where the cards have tables for it.

    Their own where that is the same; else of those that all of them know the one at which they cost least (or are
    right most often), summed over the fits.

    Raises:
        InputError: there is none.
    """
    own = {card.calibration[_OWN[which]][""] for card in cards}
    if len(own) == 1:
        return own.pop()
    known = [_known(card, which) for card in cards]
    common = set.intersection(*(set(one) for one in known))
    if not common:
        raise InputError(_refusal(cards, which))
    return min(common, key=lambda share: (sum(one[share] for one in known), share))


def _known(card: Card, which: str) -> dict[float, float]:
    """Share of the steps -> how bad it is."""
    name, own = Concept.from_dict(card.concept).class_names[0], card.calibration[_OWN[which]][""]
    figures = {float(share): float(one) for share, one in card.effect.get(_FIGURES[which], {}).items()}
    kept = [share for share in figures if share != own and key_at(which, name, share) in card.calibration]
    sign = 1 if which == LEAST else -1
    return {share: sign * figures.get(share, 0.0) for share in (own, *kept)}


def _refusal(cards: Sequence[Card], which: str) -> str:
    shares = {card.concept["name"]: card.calibration[_OWN[which]][""] for card in cards}
    told = ", ".join(f"{name} {share:g}" for name, share in shares.items())
    if which == LEAST:
        spec = f"{NAME}:concept={JOINT.join(shares)},share={max(shares.values()):g}"
        return (
            f"{NAME}: the fits look after different shares of the steps ({told}), and a joint looks once; share= sets "
            f"one for both when they are fitted, as in {spec}"
        )
    return f"{NAME}: the fits check at different shares of the steps ({told}), and a joint checks once; fit them again"
