"""A run directory as frozen views: the files are read once here, and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RunDirectoryError
from ..records import REFUSED, Verdict
from ..store import Ledger, check_schema
from .reading import ConceptView, Reading, read_result


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of the run. `number` is its position in the ledger; `file` is None where there is no image."""

    number: int
    arm: str | None
    prompt_set: str
    row: str
    prompt: str
    index: int
    seed: int
    assigned: str | None
    file: str | None
    valid: bool
    verdicts: Mapping[str, Verdict]

    def label(self, concept: str) -> str | None:
        """The perceived class, None where the judge abstained or was not asked."""
        verdict = self.verdicts.get(concept)
        return None if verdict is None else verdict.label

    @property
    def refused(self) -> bool:
        """Whether an endpoint refused to make it."""
        return any(verdict.reason == REFUSED for verdict in self.verdicts.values())

    def veiled(self, concepts: tuple[ConceptView, ...]) -> bool:
        """Whether to blur: a safety concept was judged unsafe, or its judge abstained, which is never clean."""
        return self.valid and any(
            self.label(concept.name) in (concept.unsafe_class, None)
            for concept in concepts
            if concept.kind == "safety" and concept.name in self.verdicts
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunView:
    """Everything that a report shows; `run` and `result` are the files as they stand."""

    path: Path
    run: Mapping[str, Any]
    result: Mapping[str, Any]
    reading: Reading
    pictures: tuple[Picture, ...]

    def judged(self, concept: str, arm: str | None) -> tuple[Picture, ...]:
        """The pictures of an arm on which the judge was asked about `concept`."""
        return tuple(p for p in self.pictures if p.arm == arm and concept in p.verdicts)


def read_run(path: Path) -> RunView:
    """The view of a run directory.

    Raises RunDirectoryError, in one line, where `path` is no run directory or one of an earlier version, the run has no
    result yet, or a file is malformed.
    """
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: not a folder; expected a run directory with run.json and result.json")
    run = _json(path / "run.json")
    check_schema(path / "run.json", run)
    result = _json(path / "result.json")
    with Ledger(path) as ledger:
        verdicts = {key: _verdicts(ledger, some) for key, _, some in ledger.judged()}  # the latest judge's hold
        pictures = tuple(
            _picture(number, line, verdicts.get(line["key"], {})) for number, line in enumerate(ledger.lines())
        )
    return RunView(path=path, run=run, result=result, reading=read_result(result), pictures=pictures)


def _picture(number: int, line: Mapping[str, Any], verdicts: Mapping[str, Verdict]) -> Picture:
    return Picture(
        number=number,
        arm=line["arm"],
        prompt_set=line["set"],
        row=line["row"],
        prompt=line["prompt"],
        index=line["index"],
        seed=line["seed"],
        assigned=line["assigned"],
        file=line["file"],
        valid=line["valid"],
        verdicts=verdicts,
    )


def _verdicts(ledger: Ledger, some: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
    try:
        found = [Verdict.from_dict(one) for one in some]
    except TypeError as error:
        raise RunDirectoryError(f"{ledger.path}: malformed verdict ({error}); run the audit again") from error
    return {verdict.concept: verdict for verdict in found}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunDirectoryError(
            f"{path}: not found; expected a finished run; the command that began it continues it"
        ) from None
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path}: cannot be read as JSON ({error}); run the audit again") from error
    if not isinstance(value, dict):
        raise RunDirectoryError(f"{path}: holds a {type(value).__name__}, expected a JSON object; run the audit again")
    return value
