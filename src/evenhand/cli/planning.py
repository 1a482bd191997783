"""Around an audit: `evenhand plan`, how many images it takes; `evenhand labels`, a sheet for people to label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..verbs.config import AuditConfig
from . import options as given
from .commands import app, echo_json
from .groups import grouped
from .terminal import Bars


@app.command()
@grouped
def plan(
    source: given.Source,
    *,
    question: given.Asked,
    effort: given.Amount,
    judge: given.Judges = [],  # noqa: B006
    interventions: given.With = [],  # noqa: B006
    lock: Annotated[
        Path | None, typer.Option(help="Lock prompts, target, margin, judge and number of images in this file.")
    ] = None,
    timing: Annotated[bool, typer.Option(help="Make two batches, to know the minutes.")] = True,
    image: given.Images,
    options: given.Loading,
    endpoint: given.Endpoint,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Say how many images and minutes an audit takes for what one may want to know; lock it before it is made."""
    config = AuditConfig(
        source=source,
        question=question,
        effort=effort,
        image=image,
        model=options,
        endpoint=endpoint,
        judge=judge[0] if judge else None,
        panel=tuple(judge[1:]),
        interventions=tuple(interventions),
    )
    with Bars(quiet=quiet or json) as bars:
        from ..report.plan_text import plan_lines, plan_table
        from ..verbs.plan import plan as run

        found = run(config, bars, timing=timing, to=lock)
    if json:
        echo_json(found)
        return
    console = Console()
    if not quiet:
        console.print(plan_table(found))
        console.print("\n".join(plan_lines(found)), markup=False, highlight=False)
    if lock is not None:
        typer.echo(str(lock))


@app.command()
def labels(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    out: Annotated[Path, typer.Option(help="The sheet to write, a .csv file.")],
    images: Annotated[int, typer.Option("-n", help="How many images to label.")] = 200,
    seed: given.Seed = 0,
) -> None:
    """Draw a random sample of a run's images for people to label, for `audit --labels`."""
    from ..report.data import read_run
    from ..report.label_sheet import write_label_sheet

    drawn = write_label_sheet(read_run(run), out, images=images, seed=seed)
    typer.echo(f"{out}: {drawn} images of {run}")
