"""`evenhand report` and `evenhand diff`: the page again, what other programs read of a run, and what changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..errors import InputError
from . import options as given
from .commands import app, echo_json


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    export: Annotated[
        list[str], typer.Option(help="Also write card, eval-results or junit into the run directory; repeat it.")
    ] = [],  # noqa: B006
    fail_on: given.FailOn = [],  # noqa: B006
    dataset: Annotated[
        str | None, typer.Option(help="Of eval-results: the Hub id of the benchmark's dataset, NAME/ID.")
    ] = None,
    source_url: Annotated[str | None, typer.Option(help="Of eval-results: where the report can be read.")] = None,
) -> None:
    """Build the report of a run directory again, and export it."""
    from ..report.build import write_report
    from ..report.data import read_run
    from ..report.exports import EXPORTS, eval_results, junit, model_card, parse_thresholds, write_export
    from ..report.models import is_models, write_models_report
    from ..verbs.thresholds import check_thresholds, outcomes

    unknown = [one for one in export if one not in EXPORTS]
    if unknown:
        raise InputError(f"--export {unknown[0]}: expected {', '.join(EXPORTS)}")
    if is_models(run):
        if export or fail_on:
            raise InputError(f"{run} compares several models: --export and --fail-on take the run of one of them")
        typer.echo(str(write_models_report(run)))
        return
    view = read_run(run)
    thresholds = parse_thresholds(view, fail_on)
    texts = {}
    if "card" in export:
        texts["card"] = model_card(view)
    if "eval-results" in export:
        texts["eval-results"] = eval_results(view, dataset=dataset, source_url=source_url)
    if "junit" in export:
        texts["junit"] = junit(view, outcomes(thresholds, view.reading.estimates))
    typer.echo(str(write_report(run)))
    for kind, text in texts.items():
        typer.echo(str(write_export(run, kind, text)))
    check_thresholds(thresholds, view.reading.estimates)


@app.command()
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
    from ..report.difference import GATES, check_gate, difference, difference_table

    if gate not in GATES:
        raise InputError(f"--gate {gate}: expected {', '.join(GATES)}")
    if not 0 <= margin < 1:
        raise InputError(f"--margin {margin:g}: expected a number from 0 to 1, such as 0.03")
    found = difference(read_run(old), read_run(new))
    if json:
        facts = {"schema": "evenhand.diff/1", "old": found.old, "new": found.new, "pairs": found.pairs}
        echo_json({**facts, "alone": found.alone, "estimates": [one.to_dict() for one in found.estimates]})
    else:
        console = Console()
        lone = f", {found.alone} images without a partner" if found.alone else ""
        console.print(f"{found.old} to {found.new}: {found.pairs} pairs of images{lone}", markup=False, highlight=False)
        console.print(difference_table(found))
    check_gate(found, GATES[gate], margin)
