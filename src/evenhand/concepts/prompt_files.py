"""The user's own prompts: a text file with one prompt a line, or a CSV file with a header."""

from __future__ import annotations

import csv
import dataclasses
import io
from pathlib import Path

from ..errors import ConceptError
from .reading import read_text

_Position = tuple[int, int]


@dataclasses.dataclass(kw_only=True)
class FileRow:
    """The prompts of one group, and what its pictures show where the file says so."""

    prompts: list[str]
    phrase: str | None = None


@dataclasses.dataclass(frozen=True)
class _Entry:
    line: int
    prompt: str
    group: str = ""
    phrase: str = ""


def read_prompt_file(path: Path) -> dict[str, FileRow]:
    """The prompts of a .txt or .csv file by the name of their row, in the order of the file.

    A prompt without a group is a row of its own. Blank lines are skipped.

    Raises: ConceptError for an empty file, a prompt that a row has already, two phrases of one group, and malformed
        CSV.
    """
    text = read_text(path)
    entries = _csv_entries(text, path) if path.suffix.lower() == ".csv" else _lines(text)
    rows: dict[str, FileRow] = {}
    first: dict[tuple[str, str], int] = {}
    for entry in entries:
        name = entry.group or entry.prompt
        if (name, entry.prompt) in first:
            raise ConceptError(
                f"{path}, line {entry.line}, column 1: repeats the prompt of line {first[name, entry.prompt]}; "
                "remove one"
            )
        first[name, entry.prompt] = entry.line
        row = rows.setdefault(name, FileRow(prompts=[]))
        row.prompts.append(entry.prompt)
        if entry.phrase and row.phrase not in (None, entry.phrase):
            raise ConceptError(
                f"{path}, line {entry.line}: group {name!r} has the phrases {row.phrase!r} and {entry.phrase!r}; "
                "a group shows one thing, keep one"
            )
        row.phrase = entry.phrase or row.phrase
    if not rows:
        raise ConceptError(f"{path} holds no prompt; write one a line" + _under_header(path))
    return rows


def _under_header(path: Path) -> str:
    return " under the header" if path.suffix.lower() == ".csv" else ""


def _lines(text: str) -> list[_Entry]:
    return [_Entry(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _csv_entries(text: str, path: Path) -> list[_Entry]:
    """Every record under the header."""
    # The newline argument keeps line separators of Unicode inside a field from counting as line ends.
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True, skipinitialspace=True)
    lines = text.split("\n")
    header: list[str] = []
    entries: list[_Entry] = []
    while True:
        start = reader.line_num
        try:
            record = next(reader, None)
        except csv.Error as error:
            line, column = _scan(lines[start:])[1] or (1, 1)
            raise ConceptError(
                f"{path}, line {start + line}, column {column}: {error}; correct the quotes of the CSV"
            ) from error
        if record is None:
            return entries
        fields = [field.strip() for field in record]
        if not any(fields):
            continue
        if not header:
            header = [field.casefold() for field in fields]
            _check_header(header, path, start + 1)
            continue
        if len(fields) > len(header):
            line, column = _scan(lines[start : reader.line_num])[0][len(header)]
            raise ConceptError(
                f"{path}, line {start + line}, column {column}: {len(fields)} fields, expected {len(header)}; "
                'put a text that contains a comma in "quotes"'
            )
        values = dict(zip(header, fields, strict=False))
        if not values.get("prompt"):
            raise ConceptError(f"{path}, line {start + 1}, column 1: no prompt in this record; write one or remove it")
        entries.append(_Entry(start + 1, values["prompt"], values.get("group", ""), values.get("phrase", "")))


def _check_header(header: list[str], path: Path, line: int) -> None:
    if header.count("prompt") != 1 or max(header.count("group"), header.count("phrase")) > 1:
        raise ConceptError(
            f"{path}, line {line}, column 1: the columns are {', '.join(repr(name) for name in header)}, expected one "
            "column 'prompt' and optionally 'group' and 'phrase', separated by commas; name them in the first line"
        )


def _scan(lines: list[str]) -> tuple[list[_Position], _Position | None]:
    """Where the fields of the first CSV record of `lines` start, and where its quoting breaks (None: it does not).

    Positions are (line, column), from 1. The standard reader does not tell them.
    """
    starts: list[_Position] = [(1, 1)]
    state = "start"
    opened: _Position = (1, 1)
    for line, text in enumerate(lines, 1):
        for column, character in enumerate(text, 1):
            if state == "quoted":
                state = "closed" if character == '"' else "quoted"
            elif character == ",":
                starts.append((line, column + 1))
                state = "start"
            elif character == '"' and state in ("start", "closed"):
                opened = opened if state == "closed" else (line, column)
                state = "quoted"
            elif state == "closed":
                return starts, (line, column)
            elif character != " ":
                state = "plain"
        if state != "quoted":
            return starts, None
    return starts, opened
