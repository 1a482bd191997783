"""Undo, written once: it keeps what it replaces and puts the kept original back."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self


class Undo:
    """Replaces attributes and restores the originals in reverse order, also after an exception.

    The original itself is kept and given back, so a model is bit-exact afterwards; nothing is subtracted.

        with Undo() as undo:
            undo.replace(module, "forward", wrapper)
    """

    def __init__(self) -> None:
        self._kept: list[tuple[Any, str, bool, Any]] = []

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Set `owner.name` to `value`; an attribute that lived on the class is uncovered again by `restore`."""
        own = name in vars(owner)
        self._kept.append((owner, name, own, vars(owner)[name] if own else None))
        setattr(owner, name, value)

    def swap(self, parameter: Any, data: Any) -> None:
        """Give a parameter other values; `restore` puts the kept tensor back, to the bit."""
        self._kept.append((parameter, "data", True, parameter.data))
        parameter.data = data

    def restore(self) -> None:
        """Put every kept original back, the last replaced first; a second call does nothing."""
        while self._kept:
            owner, name, own, original = self._kept.pop()
            if own:
                setattr(owner, name, original)
            else:
                delattr(owner, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()
