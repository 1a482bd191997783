"""A run directory as frozen views: the files are read once here, and checked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import RunDirectoryError
from ..records import REFUSED, Verdict
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

    Raises RunDirectoryError, in one line, where `path` is no run directory, the run has no result yet, or a
    file is malformed. A last line that a killed run left half-written is dropped.
    """
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: not a folder; expected a run directory with run.json and result.json")
    run = _json(path / "run.json")
    result = _json(path / "result.json")
    verdicts: dict[str, dict[str, Verdict]] = {}
    for line in _lines(path / "verdicts.jsonl"):  # a later line on an image replaces an earlier one
        found = (_verdict(path, data) for data in _field(path, line, "verdicts"))
        verdicts[_field(path, line, "key")] = {verdict.concept: verdict for verdict in found}
    ledger: dict[str, Mapping[str, Any]] = {_field(path, line, "key"): line for line in _lines(path / "ledger.jsonl")}
    pictures = tuple(
        _picture(path, number, line, verdicts.get(key, {})) for number, (key, line) in enumerate(ledger.items())
    )
    return RunView(path=path, run=run, result=result, reading=read_result(result), pictures=pictures)


def _picture(path: Path, number: int, line: Mapping[str, Any], verdicts: Mapping[str, Verdict]) -> Picture:
    return Picture(
        number=number,
        arm=line.get("arm"),
        prompt_set=str(_field(path, line, "set")),
        row=str(_field(path, line, "row")),
        prompt=str(_field(path, line, "prompt")),
        index=int(_field(path, line, "index")),
        seed=int(_field(path, line, "seed")),
        assigned=line.get("assigned"),
        file=line.get("file"),
        valid=bool(line.get("valid", True)),
        verdicts=verdicts,
    )


def _verdict(path: Path, data: Mapping[str, Any]) -> Verdict:
    try:
        return Verdict.from_dict(data)
    except TypeError as error:
        raise RunDirectoryError(
            f"{path / 'verdicts.jsonl'}: malformed verdict ({error}); run the audit again"
        ) from error


def _field(path: Path, line: Mapping[str, Any], name: str) -> Any:
    if name not in line:
        raise RunDirectoryError(f"{path}: a line of the ledger or the verdicts lacks {name!r}; run the audit again")
    return line[name]


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


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"{path}: cannot be read ({error})") from error
    lines = text.split("\n")
    for position, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            if position == len(lines):  # no newline followed: a killed run left it half-written
                return
            raise RunDirectoryError(f"{path}: line {position} is not JSON ({error}); run the audit again") from error
        if not isinstance(value, dict):
            raise RunDirectoryError(f"{path}: line {position} is not a JSON object; run the audit again")
        yield value
