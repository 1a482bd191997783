"""The command line. Nothing heavy is imported before a command needs it: `evenhand --help` is quick."""

from __future__ import annotations

from . import planning as planning  # registers its commands
from . import reporting as reporting  # and so does this
from .commands import app
from .exits import warn_in_lines


def main() -> None:
    """The console script `evenhand`."""
    warn_in_lines()
    app(prog_name="evenhand")


__all__ = ["app", "main"]
