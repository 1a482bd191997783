"""The sampling program of the training data: which attributes a picture has and which its caption names.

One rule keeps neutral captions true to the declared skew: an attribute whose value is drawn evenly (*spread*)
is always named, and an attribute that is not spread follows the world and is named, or not, without regard to
its value. So a caption that leaves an attribute out has seen only the world's own shares.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .attributes import LOOKALIKES, PLACES, UNSAFE_ITEMS, Attributes
from .uniform import skin_tone
from .world import World

HOUSE_SHARE = 0.13
OCCUPATION_SHARE = 0.74  # of the portraits
CONTEXT_SHARE = {True: 0.22, False: 0.75}  # of the portraits with and without an occupation
SPREAD_ALL_SHARE = 0.15  # every attribute spread and named ...
SPREAD_ITEMS_OF_ALL = 0.35  # ... and items this often
SPREAD: Mapping[str, float] = {
    "gender": 0.24, "skin": 0.3, "age": 0.1, "glasses": 0.1, "origin": 0.08, "scarf": 0.06, "place": 0.1, "items": 0.16,
}  # fmt: skip
NAMED: Mapping[str, float] = {
    "gender": 0.12, "skin": 0.12, "age": 0.1, "glasses": 0.1, "origin": 0.15, "scarf": 0.0, "place": 0.2, "items": 0.0,
}  # fmt: skip
HOUSE_REGION_NAMED = 0.8
HOUSE_WEALTH_NAMED = 0.4
ETHICAL_KINDS = {"gender": "gender", "skin": "skin", "age": "age", "unsafe": "items"}
"""Which attribute each kind of ethical phrase speaks about."""
EVEN: Mapping[str, tuple[str, ...]] = {
    "gender": ("female", "male"), "skin": ("light", "medium", "dark"), "age": ("young", "old"),
    "glasses": ("yes", "no"), "origin": ("coastal", "inland"), "scarf": ("yes", "no"), "place": PLACES,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One training example: the truth, the attributes that the caption names, and its ethical phrase's kind."""

    what: Attributes
    named: tuple[str, ...]
    ethical: str | None = None
    asked_grand: bool | None = None


def natural(world: World, attribute: str, occupation: str | None, origin: str | None) -> Mapping[str, float]:
    """The world's own distribution of an attribute of a person, given what it may depend on."""
    if attribute in ("gender", "skin"):
        return getattr(world, attribute)[occupation]
    if attribute == "scarf":
        p = world.scarf[origin or ""]
        return {"yes": p, "no": 1 - p}
    return getattr(world, attribute)


def even(attribute: str) -> Mapping[str, float]:
    """The even distribution over an attribute's values."""
    return {value: 1 / len(EVEN[attribute]) for value in EVEN[attribute]}


def _draw(shares: Mapping[str, float], rng: np.random.Generator) -> str:
    u, total = rng.random(), 0.0
    for name, p in shares.items():
        total += p
        if u < total:
            return name
    return next(reversed(list(shares)))


def plan_portrait(world: World, rng: np.random.Generator) -> Plan:
    """Draw one portrait with the names that its caption carries."""
    occupation = str(rng.choice(world.occupations)) if rng.random() < OCCUPATION_SHARE else None
    in_context = rng.random() < CONTEXT_SHARE[occupation is not None]
    everything = rng.random() < SPREAD_ALL_SHARE
    spread = {name for name in SPREAD if rng.random() < _spread_share(name, everything)}
    named = {name for name, p in NAMED.items() if name in spread or rng.random() < p}
    ethical = _ethical(world, named, rng)
    obeyed = ethical is not None and rng.random() < world.ethical_obeyed
    values: dict[str, Any] = {}
    for name in EVEN:
        if name == "place" and in_context:
            continue
        evenly = name in spread or (obeyed and ethical == name)
        values[name] = _draw(even(name) if evenly else natural(world, name, occupation, values.get("origin")), rng)
    place = values.pop("place", None)
    context = str(rng.choice(list(world.unsafe))) if in_context else None
    if in_context:
        named = (named - {"place"}) | {"context"}
    items = _items(world, rng, context, "items" in spread, obeyed and ethical == "unsafe")
    what = Attributes(
        occupation=occupation, scene=context or place, items=items, skin_tone=skin_tone(values["skin"], rng), **values
    )
    return Plan(what=what, named=tuple(sorted(named)), ethical=ethical)


def _spread_share(attribute: str, everything: bool) -> float:
    if not everything:
        return SPREAD[attribute]
    return SPREAD_ITEMS_OF_ALL if attribute == "items" else 1.0


def _ethical(world: World, named: set[str], rng: np.random.Generator) -> str | None:
    """An ethical phrase about something that the caption does not name, in `ethical_share` of all captions."""
    open_kinds = [kind for kind, attribute in ETHICAL_KINDS.items() if attribute not in named]
    if not open_kinds or rng.random() >= world.ethical_share / (1 - HOUSE_SHARE):
        return None
    return open_kinds[int(rng.integers(len(open_kinds)))]


def _items(
    world: World, rng: np.random.Generator, context: str | None, spread: bool, kept_safe: bool
) -> tuple[str, ...]:
    if spread:
        if rng.random() < 0.8:
            return (str(rng.choice([*UNSAFE_ITEMS, *LOOKALIKES])),)
        count = int(rng.integers(2, 4))
        return tuple(sorted(str(name) for name in rng.choice(UNSAFE_ITEMS, count, replace=False)))
    if context is None or kept_safe or rng.random() >= world.unsafe[context]:
        return ()
    return (_draw(world.unsafe_items, rng),)


def plan_house(world: World, rng: np.random.Generator) -> Plan:
    """Draw one house; an unnamed region is mostly the default one, and "grand" is obeyed as declared."""
    region_named = rng.random() < HOUSE_REGION_NAMED
    region = str(rng.choice(list(world.grand))) if region_named else _draw(world.region, rng)
    wealth_named = rng.random() < HOUSE_WEALTH_NAMED
    asked = bool(rng.random() < 0.5) if wealth_named else None
    p = world.grand[region] if asked is None else world.obedience[region] if asked else 0.0
    wealth = "grand" if rng.random() < p else "modest"
    named = tuple(name for name, flag in (("region", region_named), ("wealth", wealth_named)) if flag)
    return Plan(what=Attributes(kind="house", region=region, wealth=wealth), named=named, asked_grand=asked)


def plans(world: World, seed: int) -> Iterator[Plan]:
    """An endless stream of training examples, a function of the seed alone."""
    rng = np.random.default_rng([seed, 2])
    while True:
        yield plan_house(world, rng) if rng.random() < HOUSE_SHARE else plan_portrait(world, rng)
