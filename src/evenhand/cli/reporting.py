"""`evenhand report`: the page again, and what other programs read of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from . import options as given
from .commands import app


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    export: Annotated[
        list[str],
        typer.Option(help="Also write card, eval-results, junit or parquet into the run directory; repeat it."),
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
    from ..store import export_parquet
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
    if "parquet" in export:
        typer.echo(str(export_parquet(run, view.run)))
    check_thresholds(thresholds, view.reading.estimates)
