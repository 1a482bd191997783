"""What selecting noises costs, and from which log-odds on a noise is worth finishing.

A noise that is looked at costs a share u of an image's evaluations, one that is finished a whole image more. With a
class of natural share p, a look that accepts h of its noises and f of the others costs, until the class is shown,

    (u + v (p h + (1 - p) f)) / (p h)                                           images' worth of evaluations,

where v is an image and the reading on its way, a little above 1.

Where the class is rare, a noise that seems to show it as likely as not by balanced odds mostly shows another one, so
the least odds that are accepted are chosen for every prompt row by this cost: it falls in h and grows in f.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch

RAREST = 0.02
"""Costs of rarer classes are taken as those of this share; selection declines there."""
_LEAST = tuple(k / 10 for k in range(-30, 31))
"""What is tried as the least to be accepted, in units of the scatter of a row's log-odds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bar:
    """From where on a noise is finished, and what that leads to.

    Args:
        least: log-odds of the class above the row's cut, in units of their scatter.
        hit: how often a noise that shows the class is accepted.
        false: how often another one is.
        cost: images' worth of evaluations until the class is shown.
        right: share of the finished noises that show it.
    """

    least: float
    hit: float
    false: float
    cost: float
    right: float


def expected_cost(natural: float, rates: Mapping[str, float], share: float, whole: float = 1.0) -> tuple[float, float]:
    """Images' worth of evaluations until a class is shown, and how often a noise that is finished shows it.

    Args:
        natural: share of the noises that show the class.
        rates: "hit", how often such a noise is accepted, and "false", how often another one is.
        share: of the evaluations, for a look.
        whole: images' worth of an image that is finished.
    """
    accepted = natural * rates["hit"] + (1 - natural) * rates["false"]
    right = natural * rates["hit"]
    if right <= 0:
        return math.inf, 0.0
    return (share + whole * accepted) / right, right / accepted


def best_bar(
    odds: torch.Tensor, labels: torch.Tensor, place: int, natural: Mapping[int, float], share: float, whole: float = 1.0
) -> Bar:
    """The cheapest bar of a class where the classes have these natural shares.

    Args:
        odds: log-odds of the class in some images above their rows' cuts, in units of their scatter, (images,).
        labels: the classes that they show.
        place: number of the wanted class.
        natural: number of each class -> its share among the noises of a prompt.
        share: of the evaluations, for a look.
        whole: images' worth of an image that is finished.
    """
    own = max(natural[place], RAREST)
    others = {one: part for one, part in natural.items() if one != place and part > 0 and bool((labels == one).any())}
    among = sum(others.values())
    bars = []
    for least in _LEAST:
        passed = odds >= least
        hit = _rate(passed[labels == place])
        false = sum(part * _rate(passed[labels == one]) for one, part in others.items()) / among if others else 0.0
        cost, right = expected_cost(own, {"hit": hit, "false": false}, share, whole)
        bars.append(Bar(least=least, hit=hit, false=false, cost=cost, right=right))
    return min(bars, key=lambda one: (one.cost, abs(one.least)))


def together(leasts: Sequence[float]) -> float:
    """The least log-odds of a joint class, from those of its factors: the joint chance where each is just accepted."""
    if len(leasts) == 1:
        return leasts[0]
    chance = math.prod(1 / (1 + math.exp(-one)) for one in leasts)
    return math.log(chance / (1 - chance))


def _rate(passed: torch.Tensor) -> float:
    """Half a count added on either side, so that no rate is 0 or 1."""
    return (float(passed.sum()) + 0.5) / (len(passed) + 1)
