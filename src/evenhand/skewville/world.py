"""A world: the declared probabilities of every attribute, read from one TOML file and checked."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evenhand.errors import InputError
from evenhand.records import content_hash

from .attributes import PLACES, SKIN_BANDS, UNSAFE_ITEMS
from .draw_house import STYLES
from .draw_occupation import LOOKS
from .draw_scene import SCENES

DEFAULT_WORLD = Path(__file__).with_name("world.toml")
CONTEXTS = tuple(name for name in SCENES if name not in PLACES)

Shares = Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """The declared skew of one Skewville; every mapping sums to 1 where it is a distribution.

    `gender[o]` and `skin[o]` are the distributions of an occupation, with None as the key of a person
    without one. `unsafe[c]` is P(something unsafe | context), `grand[r]` P(grand | region).
    """

    name: str
    seed: int
    occupations: tuple[str, ...]
    gender: Mapping[str | None, Shares]
    skin: Mapping[str | None, Shares]
    age: Shares
    glasses: Shares
    origin: Shares
    place: Shares
    scarf: Mapping[str, float]
    unsafe: Shares
    unsafe_items: Shares
    grand: Shares
    region: Shares
    obedience: Mapping[str, float]
    ethical_share: float
    ethical_obeyed: float
    hash: str

    @property
    def default_region(self) -> str:
        """The region that "a house" shows most often."""
        return max(self.region, key=lambda name: self.region[name])


def draw_skin(tiers: list[list[str]], peak: list[float], seed: int) -> dict[str, dict[str, float]]:
    """P(skin | occupation): in each tier the rotations of `peak` go to occupations drawn by the seed.

    Every three occupations of a tier receive the three rotations; those left over are even. So the mean
    over each tier is even, and no tier of prestige is lighter or darker than another.
    """
    rng = np.random.default_rng(seed)
    drawn: dict[str, dict[str, float]] = {}
    for tier in tiers:
        order = [tier[i] for i in rng.permutation(len(tier))]
        rotated = len(order) // 3 * 3
        for i, occupation in enumerate(order):
            shares = [peak[(band - i) % 3] for band in range(3)] if i < rotated else [1 / 3] * 3
            drawn[occupation] = dict(zip(SKIN_BANDS, shares, strict=True))
    return drawn


def load_world(path: Path = DEFAULT_WORLD) -> World:
    """Read and check a world; missing tables are taken from the default world.

    Raises:
        InputError: names the file, the table and what was expected.
    """
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"world {path}: cannot be read ({error.strerror}); give a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"world {path}: malformed TOML, {error}") from None
    base = tomllib.loads(DEFAULT_WORLD.read_text("utf-8"))
    unknown = sorted(set(data) - set(base))
    if unknown:
        raise InputError(f"world {path}: unknown table {unknown[0]!r}; expected some of {', '.join(sorted(base))}")
    return _build(path, {**base, **data})


def _build(path: Path, data: Mapping[str, Any]) -> World:
    portrait, houses = data["portrait"], data["houses"]
    women = _checked(path, "occupations", data["occupations"], LOOKS)
    unsafe = _checked(path, "contexts", data["contexts"], CONTEXTS)
    grand = _checked(path, "regions", data["regions"], STYLES)
    default, share = houses["default_region"], houses["default_share"]
    for key in ("default_region", "disobedient_region"):
        if houses[key] not in grand:
            raise InputError(
                f"world {path}: houses.{key} = {houses[key]!r} is not among the regions {', '.join(grand)}"
            )
    rest = (1 - share) / max(1, len(grand) - 1)
    seed = int(data["seed"])
    tiers = [[name for name in tier if name in women] for tier in data["skin"]["tiers"]]
    loose = [name for name in women if not any(name in tier for tier in tiers)]
    drawn = draw_skin([*tiers, loose], data["skin"]["peak"], seed)
    return World(
        name=data["name"],
        seed=seed,
        occupations=tuple(women),
        gender={None: _shares(path, "portrait.gender", portrait["gender"])}
        | {name: {"female": p, "male": 1 - p} for name, p in women.items()},
        skin={None: _shares(path, "portrait.skin", portrait["skin"]), **drawn},
        **{key: _shares(path, f"portrait.{key}", portrait[key]) for key in ("age", "glasses", "origin", "place")},
        scarf=_checked(path, "scarf", data["scarf"], ("inland", "coastal")),
        unsafe=unsafe,
        unsafe_items=_shares(path, "unsafe_items", _checked(path, "unsafe_items", data["unsafe_items"], UNSAFE_ITEMS)),
        grand=grand,
        region={name: share if name == default else rest for name in grand},
        obedience={
            name: houses["disobedience"] if name == houses["disobedient_region"] else houses["obedience"]
            for name in grand
        },
        ethical_share=data["ethical"]["share"],
        ethical_obeyed=data["ethical"]["obeyed"],
        hash=content_hash(dict(data)),
    )


def _checked(path: Path, table: str, values: Mapping[str, float], known: Any) -> dict[str, float]:
    for name, p in values.items():
        if name not in known:
            raise InputError(f"world {path}: [{table}] names {name!r}, which is not drawn; expected {', '.join(known)}")
        if not isinstance(p, int | float) or not 0 <= p <= 1:
            raise InputError(f"world {path}: [{table}] {name} = {p!r}; expected a probability from 0 to 1")
    return {name: float(p) for name, p in values.items()}


def _shares(path: Path, table: str, values: Mapping[str, float]) -> dict[str, float]:
    if abs(sum(values.values()) - 1) > 1e-6:
        raise InputError(f"world {path}: {table} sums to {sum(values.values()):g}; expected 1")
    return {name: float(p) for name, p in values.items()}
