"""Options that belong together: declared once, and built into a record before a command sees them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Group:
    """Stands in an annotation, `image: Annotated[ImageOptions, Group(image_options)]`, for all options of a function.

    Args:
        build: makes the record; each of its parameters is an option, with its default.
        without: names of those that a command does not offer; they have their defaults.
    """

    build: Callable[..., Any]
    without: tuple[str, ...] = ()

    def options(self) -> list[inspect.Parameter]:
        """The parameters that are offered, by keyword."""
        known = inspect.signature(self.build, eval_str=True).parameters.values()
        return [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in known if one.name not in self.without]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its groups in their places, as typer reads it; groups stand behind `*`."""
    parts: list[tuple[inspect.Parameter, Group | None]] = [
        (one, next((extra for extra in getattr(one.annotation, "__metadata__", ()) if isinstance(extra, Group)), None))
        for one in inspect.signature(command, eval_str=True).parameters.values()
    ]

    @functools.wraps(command)
    def called(**typed: Any) -> None:
        found = {}
        for one, group in parts:
            if group is None:
                found[one.name] = typed[one.name]
            else:
                found[one.name] = group.build(**{option.name: typed[option.name] for option in group.options()})
        command(**found)

    options = [option for one, group in parts for option in (group.options() if group else [one])]
    called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    called.__annotations__ = {one.name: one.annotation for one in options}
    return called
