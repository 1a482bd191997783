"""`evenhand diff`."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import InputError
from . import options as given


def diff(
    old: Annotated[Path, typer.Argument(help="The run directory of the model as it was.")],
    new: Annotated[Path, typer.Argument(help="That of the model as it would be released; the same seeds.")],
    gate: Annotated[
        str, typer.Option(help="none; worse: fail where a harm is proven; not-inferior: fail unless its absence is.")
    ] = "none",
    margin: Annotated[float, typer.Option(help="Of not-inferior: how much worse is still the same.")] = 0.03,
    json: given.Json = False,
) -> None:
    """Say what changed between two runs on the same seeds, and gate a release on it."""
    from ..report.data import read_run
    from ..report.difference import GATES, check_gate, difference, difference_table, power_lines

    if gate not in GATES:
        raise InputError(f"--gate {gate}: expected {', '.join(GATES)}")
    if not 0 <= margin < 1:
        raise InputError(f"--margin {margin:g}: expected a number from 0 to 1, such as 0.03")
    found = difference(read_run(old), read_run(new))
    if json:
        facts = {"schema": "evenhand.diff/1", "old": found.old, "new": found.new, "pairs": found.pairs}
        typer.echo(
            json_format.dumps(
                {**facts, "alone": found.alone, "estimates": [one.to_dict() for one in found.estimates]}, indent=2
            )
        )
    else:
        console = Console()
        lone = f", {found.alone} images without a partner" if found.alone else ""
        console.print(f"{found.old} to {found.new}: {found.pairs} pairs of images{lone}", markup=False, highlight=False)
        console.print(difference_table(found))
        if gate == "not-inferior" and margin > 0:
            for line in power_lines(found, margin):
                console.print(line, markup=False, highlight=False)
    check_gate(found, GATES[gate], margin)
