"""HTML as values: every plain string that enters an element is escaped, so nothing from a run can become markup."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from typing import Any

_VOID = frozenset({"br", "img", "input", "meta"})
_SHAPES = frozenset({"line", "path", "rect"})

Attribute = str | int | float | bool | None


class Markup(str):
    """Text that is HTML already. Only this module and package data make it from anything but elements."""

    __slots__ = ()


def join(children: Iterable[str | None]) -> Markup:
    """The children one after the other; plain strings are escaped, None is nothing."""
    return Markup("".join(c if isinstance(c, Markup) else html.escape(c) for c in children if c is not None))


def el(name: str, attributes: Mapping[str, Attribute] | None = None, *children: str | None) -> Markup:
    """The element `name`. An attribute that is None or False is left out, True stands without a value."""
    parts = [name]
    for key, value in (attributes or {}).items():
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{html.escape(str(value))}"')
    start = " ".join(parts)
    if name in _VOID:
        return Markup(f"<{start}>")
    if name in _SHAPES and not children:
        return Markup(f"<{start}/>")
    return Markup(f"<{start}>{join(children)}</{name}>")


def data_block(identifier: str, value: Any) -> Markup:
    """A JSON data block. `<`, `>` and `&` are written as JSON escapes, so that no text can end the block."""
    text = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=True, allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(f'<script type="application/json" id="{html.escape(identifier)}">{text}</script>')
