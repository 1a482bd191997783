"""Calibration by trials: the least strength that shows a class, and not a lucky one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from evenhand.concepts.library import load_concept
from evenhand.concepts.prompts import PromptRow
from evenhand.methods.vector_trials import LATE, Trials, calibrate, latest_start, row_for
from evenhand.records import Request

ROWS = tuple(PromptRow(name=name, templates=(f"a photo of a {name}",)) for name in ("nurse", "baker", "driver"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Told(Trials):
    """Shows a class from a strength on; a lucky row shows it in its first images at any strength, and in 2 of 3."""

    needs: dict[str, float]
    lucky: tuple[str, ...] = ()
    counted: list[Request] = dataclasses.field(default_factory=list)

    def labels(self, interventions: Sequence[Any], requests: Sequence[Request]) -> list[str | None]:
        (strength,) = interventions
        self.counted.extend(requests)
        return ["female" if self._shown(one, strength) else "male" for one in requests]

    def _shown(self, request: Request, strength: float) -> bool:
        if strength >= self.needs[request.row]:
            return True
        return request.row in self.lucky and (request.index < 6 or request.index % 3 > 0)


def told(needs: dict[str, float], lucky: tuple[str, ...] = ()) -> Told:
    fitting: Any = None
    return Told(
        fitting=fitting,
        concept=load_concept("gender"),
        rows=ROWS,
        read=lambda samples: [],
        seed=0,
        needs=needs,
        lucky=lucky,
    )


def test_every_row_gets_the_least_strength_that_shows_the_class() -> None:
    trials = told({"nurse": 1.0, "baker": 2.0, "driver": 1.0})
    found = calibrate(trials, lambda name, strength: [strength], ["female"], 6)  # type: ignore[list-item]
    assert found == {"female": {"": 2.0, "nurse": 1.0, "driver": 1.0}}
    # 3 rows x 6, two of them confirmed on 12 more; then baker at 1.5, and at 2.0 with its 12
    assert len(trials.counted) == 3 * 6 + 2 * 12 + 6 + 6 + 12
    assert len({(one.row, one.index, one.seed) for one in trials.counted}) == 3 * 18


def test_a_lucky_first_look_is_not_believed() -> None:
    trials = told({"nurse": 1.0, "baker": 1.5, "driver": 1.0}, lucky=("baker",))
    found = calibrate(trials, lambda name, strength: [strength], ["female"], 6)  # type: ignore[list-item]
    assert found["female"]["baker" if "baker" in found["female"] else ""] == 1.5


def test_what_no_strength_brings_there_gets_the_best_that_was_seen() -> None:
    trials = told({"nurse": 1.0, "baker": 99.0, "driver": 1.0}, lucky=("baker",))
    found = calibrate(trials, lambda name, strength: [strength], ["female"], 6)  # type: ignore[list-item]
    assert found["female"].get("baker", found["female"][""]) == 1.0


def test_a_class_that_less_than_the_whole_way_shows_everywhere_gets_less() -> None:
    trials = told({"nurse": 0.4, "baker": 0.5, "driver": 0.3})
    found = calibrate(trials, lambda name, strength: [strength], ["female"], 6, gentle=True)  # type: ignore[list-item]
    assert found == {"female": {"": 0.5}}
    # 48 images over the rows at 0.3 and at 0.5, then six and twelve of every row at 0.5
    assert len(trials.counted) == 2 * 48 + 3 * 18


def test_where_one_row_needs_the_whole_way_no_row_gets_less() -> None:
    trials = told({"nurse": 0.3, "baker": 0.9, "driver": 0.3})
    found = calibrate(trials, lambda name, strength: [strength], ["female"], 6, gentle=True)  # type: ignore[list-item]
    assert found == {"female": {"": 1.0}}


def test_what_still_shows_every_class_begins_as_late_as_that() -> None:
    trials = told({"nurse": 0.4, "baker": 0.5, "driver": 0.3})
    # the interventions that begin at `start` act for the rest of the schedule
    found = latest_start(trials, lambda start: lambda name, strength: [1 - start], ["female"])  # type: ignore[arg-type, list-item, return-value]
    assert found == 0.5
    assert len(trials.counted) == 48 * (LATE.index(0.5) + 1)


def test_no_later_start_is_tried_than_is_allowed() -> None:
    trials = told({"nurse": 0.4, "baker": 0.5, "driver": 0.3})
    found = latest_start(trials, lambda start: lambda name, strength: [1 - start], ["female"], 0.3)  # type: ignore[arg-type, list-item, return-value]
    assert found == 0.3
    assert len(trials.counted) == 48


def test_what_no_late_start_shows_acts_from_the_first_step_on() -> None:
    trials = told({"nurse": 0.95, "baker": 0.5, "driver": 0.3})
    assert latest_start(trials, lambda start: lambda name, strength: [1 - start], ["female"]) == 0  # type: ignore[arg-type, list-item, return-value]


def test_a_prompt_is_of_the_last_row_that_it_speaks_of() -> None:
    known = ("a house", "torlund", "nurse")
    assert row_for(known, None, "a photo of a house in Torlund") == "torlund"
    assert row_for(known, None, "a photo of a house") == "a house"
    assert row_for(known, "nurse", "a photo of a house") == "nurse"
    assert row_for(known, None, "a photo of a nursery") == ""
