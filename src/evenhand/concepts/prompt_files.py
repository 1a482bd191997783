"""The user's own prompts: a text file with one prompt a line, or a CSV file with a header."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from ..errors import ConceptError
from .reading import read_text

_Position = tuple[int, int]


def read_prompt_file(path: Path) -> dict[str, list[str]]:
    """The prompts of a .txt or .csv file by the name of their row, in the order of the file.

    A prompt without a group is a row of its own. Blank lines are skipped.

    Raises: ConceptError for an empty file, a prompt that a row has already, and malformed CSV.
    """
    text = read_text(path)
    entries = _csv_entries(text, path) if path.suffix.lower() == ".csv" else _lines(text)
    rows: dict[str, list[str]] = {}
    first: dict[tuple[str, str], int] = {}
    for line, prompt, group in entries:
        name = group or prompt
        if (name, prompt) in first:
            raise ConceptError(
                f"{path}, line {line}, column 1: repeats the prompt of line {first[name, prompt]}; remove one"
            )
        first[name, prompt] = line
        rows.setdefault(name, []).append(prompt)
    if not rows:
        raise ConceptError(f"{path} holds no prompt; write one a line" + _under_header(path))
    return rows


def _under_header(path: Path) -> str:
    return " under the header" if path.suffix.lower() == ".csv" else ""


def _lines(text: str) -> list[tuple[int, str, str]]:
    return [(number, line.strip(), "") for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _csv_entries(text: str, path: Path) -> list[tuple[int, str, str]]:
    """Line, prompt and group of every record under the header."""
    # The newline argument keeps line separators of Unicode inside a field from counting as line ends.
    reader = csv.reader(io.StringIO(text, newline="\n"), strict=True, skipinitialspace=True)
    lines = text.split("\n")
    header: list[str] = []
    entries: list[tuple[int, str, str]] = []
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
        entries.append((start + 1, values["prompt"], values.get("group", "")))


def _check_header(header: list[str], path: Path, line: int) -> None:
    if header.count("prompt") != 1 or header.count("group") > 1:
        raise ConceptError(
            f"{path}, line {line}, column 1: the columns are {', '.join(repr(name) for name in header)}, expected one "
            "column 'prompt' and optionally 'group', separated by commas; name them in the first line"
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
