"""Help in a narrow terminal: its examples stand whole below it, and are of options that the command has."""

from __future__ import annotations

import re

import pytest
import typer

from evenhand.cli import app


@pytest.mark.parametrize("name", ["audit", "compare"])
def test_examples_stand_below_the_help_and_are_of_options_that_are_there(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    named = set(re.findall(r"--[a-z-]+", command.epilog))
    assert "--target" in named
    assert named <= {option for one in command.params for option in one.opts}
