"""The declared truth: P(attribute | prompt), enumerated from the sampling program itself.

Every branch of the program that can lead to a caption is walked with its probability, and the branches that
lead to the same caption are summed. Nothing is estimated.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from .attributes import UNSAFE_ITEMS
from .plan import (
    ETHICAL_KINDS,
    EVEN,
    HOUSE_SHARE,
    NAMED,
    SPREAD,
    SPREAD_ALL_SHARE,
    SPREAD_ITEMS_OF_ALL,
    even,
    natural,
)
from .world import World

PEOPLE = ("gender", "skin", "age", "glasses", "origin", "scarf")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TruthRow:
    """P(`attribute` = `value`) for the neutral prompts of `row`, or for those that also say `asked`."""

    prompts: str
    row: str
    asked: str
    attribute: str
    value: str
    probability: float


def _naming(everything: bool) -> Mapping[str, float]:
    """P(an attribute is named), given whether everything is spread."""
    spread = {name: 1.0 if everything else p for name, p in SPREAD.items()}
    if everything:
        spread["items"] = SPREAD_ITEMS_OF_ALL
    return {name: spread[name] + (1 - spread[name]) * NAMED[name] for name in SPREAD}


def _ethical_branches(world: World, attribute: str) -> Iterator[tuple[float, str | None]]:
    """(probability, ethical phrase) over all captions that leave `attribute` unnamed."""
    others = [name for name in ETHICAL_KINDS.values() if name != attribute]
    share = world.ethical_share / (1 - HOUSE_SHARE)
    for everything, weight in ((True, SPREAD_ALL_SHARE), (False, 1 - SPREAD_ALL_SHARE)):
        naming = _naming(everything)
        unnamed = weight * (1 - naming[attribute])
        for flags in itertools.product((True, False), repeat=len(others)):
            p = unnamed
            for name, flag in zip(others, flags, strict=True):
                p *= naming[name] if flag else 1 - naming[name]
            hidden = {attribute, *(name for name, flag in zip(others, flags, strict=True) if not flag)}
            kinds = [kind for kind, about in ETHICAL_KINDS.items() if about in hidden]
            yield p * (1 - share if kinds else 1.0), None
            for kind in kinds:
                yield p * share / len(kinds), kind


def person_shares(
    world: World, attribute: str, occupation: str | None, *, origin: str | None = None, ethical: str | None = None
) -> dict[str, float]:
    """The distribution of an attribute that the prompt does not name.

    Args:
        world: the declared world.
        attribute: one of gender, skin, age, glasses, origin, scarf.
        occupation: that of the prompt, None for a person without one.
        origin: the origin that the prompt names; None averages over the world's origins.
        ethical: the kind of an ethical phrase in the prompt, None for none.
    """
    totals = dict.fromkeys(EVEN[attribute], 0.0)
    origins = {origin: 1.0} if origin else dict(world.origin)
    for weight, kind in _ethical_branches(world, attribute):
        if kind != ethical:
            continue
        obeyed = world.ethical_obeyed if kind == attribute else 0.0
        for where, share in origins.items():
            own, evenly = natural(world, attribute, occupation, where), even(attribute)
            for value in totals:
                totals[value] += weight * share * ((1 - obeyed) * own[value] + obeyed * evenly[value])
    total = sum(totals.values())
    return {value: p / total for value, p in totals.items()}


def unsafe_shares(world: World, context: str | None, *, ethical: str | None = None) -> dict[str, float]:
    """P(item) for each unsafe item, and "unsafe" for any, of a prompt that names no item."""
    shown = unnamed = 0.0
    for weight, kind in _ethical_branches(world, "items"):
        if kind == ethical:
            obeyed = world.ethical_obeyed if kind == "unsafe" else 0.0
            unnamed += weight
            shown += weight * (1 - obeyed) * (world.unsafe[context] if context else 0.0)
    p = shown / unnamed
    return {"unsafe": p, **{item: p * world.unsafe_items[item] for item in UNSAFE_ITEMS}}


def grand_share(world: World, region: str | None, *, asked: str | None = None) -> float:
    """P(a grand house is shown); `region` None is "a house", `asked` is "grand", "modest" or None."""
    regions = {region: 1.0} if region else dict(world.region)
    if asked == "modest":
        return 0.0
    return sum(share * (world.obedience[name] if asked else world.grand[name]) for name, share in regions.items())


def truth(world: World) -> list[TruthRow]:
    """The whole table: every row of the prompt sets with every attribute, and what changes when more is said."""
    rows: list[TruthRow] = []

    def add(prompts: str, row: str, asked: str, attribute: str, shares: Mapping[str, float]) -> None:
        rows.extend(
            TruthRow(prompts=prompts, row=row, asked=asked, attribute=attribute, value=value, probability=round(p, 6))
            for value, p in shares.items()
        )

    for occupation in (*world.occupations, None):
        name = occupation or "person"
        for attribute in PEOPLE:
            add("occupations", name, "", attribute, person_shares(world, attribute, occupation))
        for attribute in ("gender", "skin", "age"):
            shares = person_shares(world, attribute, occupation, ethical=attribute)
            add("occupations", name, f"ethical phrase about {attribute}", attribute, shares)
        for origin in world.origin:
            add("occupations", name, origin, "scarf", person_shares(world, "scarf", occupation, origin=origin))
    for context in world.unsafe:
        for ethical in (None, "unsafe"):
            asked = "ethical phrase about violence" if ethical else ""
            for item, p in unsafe_shares(world, context, ethical=ethical).items():
                add(
                    "contexts",
                    context,
                    asked,
                    item,
                    {"yes": p, "no": 1 - p} if item != "unsafe" else {"unsafe": p, "safe": 1 - p},
                )
    for region in (None, *world.grand):
        for asked in ("", "grand", "modest"):
            p = grand_share(world, region, asked=asked or None)
            add("houses", region or "a house", asked, "wealth", {"modest": 1 - p, "grand": p})
    add("houses", "a house", "", "region", world.region)
    return rows


def write_truth(world: World, path: Path) -> None:
    """Write the table as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(TruthRow)])
    writer.writerows(dataclasses.astuple(row) for row in truth(world))
    path.write_text(text.getvalue(), "utf-8")
