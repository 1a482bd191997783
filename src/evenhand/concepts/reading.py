"""Reading the user's text files, with errors that name the line and the column."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConceptError

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_text(path: Path) -> str:
    r"""The text of a file with "\n" as the only line end; a byte order mark is dropped, UTF-16 is told by its mark.

    Raises: ConceptError when there is no such file or it is not text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConceptError(f"cannot read {path}: {reason}; give the path of a text file") from error
    encoding = "utf-16" if data.startswith(_UTF16_MARKS) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start])
        raise ConceptError(
            f"{path}, line {line}, column {column}: the bytes are not UTF-8 text; save the file as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Raises ConceptError for a table whose header names a column twice: only the last of them would count."""
    for name in columns:
        if name.strip() and columns.count(name) > 1:  # spreadsheets leave empty ones at the end
            raise ConceptError(f"{path}, line 1: the column {name!r} is there twice; expected each once, remove one")


def _position(before: bytes) -> tuple[int, int]:
    return before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1


def parse_toml(text: str, where: str | Path) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises: ConceptError with `where`, the line and the column of malformed TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _POSITION.search(message)
        lines = text.split("\n")
        line, column = found.groups() if found and found[1] else (len(lines), len(lines[-1]) + 1)
        problem = _POSITION.sub("", message)
        if problem == "Cannot overwrite a value":
            problem = "the key is given twice"
        raise ConceptError(f"{where}, line {line}, column {column}: {problem}; correct the TOML") from error


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` for the nearest known name, or nothing where none is near."""
    near = difflib.get_close_matches(given.casefold(), list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""
