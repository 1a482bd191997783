"""Judges of other packages, by the entry point `evenhand.judges`: also detectors whose licence keeps them out."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from evenhand.errors import ModelError

from .base import Judge

GROUP = "evenhand.judges"


def plugin_names() -> dict[str, str]:
    """The names of the judges that other packages bring, with where each comes from."""
    return {one.name: f"plug-in {one.value}" for one in importlib.metadata.entry_points(group=GROUP)}


def load_plugin(name: str) -> Judge | None:
    """The judge of an entry point, which is called without arguments; None where none has the name.

    Raises:
        ModelError: it cannot be loaded, or is no judge.
    """
    found = [one for one in importlib.metadata.entry_points(group=GROUP) if one.name == name]
    if not found:
        return None
    try:
        make: Callable[[], Judge] = found[0].load()
        judge = make()
        # the shape of a judge, asked for at once rather than after the images are made
        _ = (judge.name, judge.hash, judge.card, judge.knows, judge.judge)
    except Exception as error:  # whatever a foreign module raises
        raise ModelError(
            f"judge {name}: the entry point {found[0].value} gives no judge ({type(error).__name__}: {error})"
        ) from error
    return judge
