"""An intervention as it is typed: `method[:key=value,...]`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from evenhand.errors import InputError
from evenhand.records import Record

_NAME = re.compile(r"[a-z][a-z0-9-]*")
_KEY = re.compile(r"\s*([a-z][a-z0-9_-]*)\s*=\s*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec(Record):
    """A method's name and its parameters, as text.

    Args:
        text: what was typed.
        method: the name; "" where a saved intervention is named, whose card says it.
        parameters: as typed.
        path: folder or Hub id of a saved intervention, None otherwise.
    """

    text: str
    method: str
    parameters: Mapping[str, str]
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {"text": self.text, "method": self.method, "parameters": dict(self.parameters), "path": self.path}


def parse_spec(text: str) -> Spec:
    """Read `method[:key=value,...]` or `PATH[:key=value,...]`, where a path or Hub id holds a slash.

    A value that holds a comma is a JSON string, `text="blood, fire"`.

    Raises:
        InputError: malformed, or a key twice; the line says where.
    """
    name, sign, rest = text.partition(":")
    name = name.strip()
    saved = "/" in name
    if not saved and not _NAME.fullmatch(name):
        raise InputError(f'--with "{text}": expected METHOD or METHOD:key=value,... (see `evenhand list methods`)')
    parameters: dict[str, str] = {}
    place = 0
    while sign and place < len(rest):
        key = _KEY.match(rest, place)
        if key is None:
            raise InputError(f'--with "{text}": expected key=value at "{rest[place:]}"')
        if key[1] in parameters:
            raise InputError(f'--with "{text}": {key[1]} is given twice; keep one')
        parameters[key[1]], place = _value(text, rest, key.end())
    return Spec(text=text, method="" if saved else name, parameters=parameters, path=name if saved else None)


def _value(text: str, rest: str, start: int) -> tuple[str, int]:
    """One value and the place after the comma that ends it."""
    if not rest.startswith('"', start):
        end = rest.find(",", start)
        return (rest[start:].strip(), len(rest)) if end < 0 else (rest[start:end].strip(), end + 1)
    try:
        value, end = json.JSONDecoder().raw_decode(rest, start)
    except ValueError as error:
        raise InputError(f'--with "{text}": the quoted value {rest[start:]} is no JSON string ({error})') from error
    after = rest[end:].lstrip()
    if after and not after.startswith(","):
        raise InputError(f'--with "{text}": expected a comma before "{after}"')
    return value, len(rest) - len(after) + 1 if after else len(rest)
