"""Around an audit: `evenhand plan`, how many images it takes; `evenhand labels`, a sheet for people to label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..verbs.config import AuditConfig, Effort, EndpointOptions, Question
from . import options as given
from .commands import app, echo_json
from .terminal import Bars


@app.command()
def plan(
    source: given.Source,
    concept: given.Concepts = [],  # noqa: B006  (typer reads the default and never shares it)
    present: given.Present = None,
    absent: given.Absent = None,
    target: given.Targets = [],  # noqa: B006
    prompts: given.Prompts = None,
    images_per_prompt: given.ImagesPerPrompt = None,
    precision: given.Precision = None,
    until_decided: given.UntilDecided = False,
    limit: given.Limit = None,
    judge: given.Judges = [],  # noqa: B006
    interventions: given.With = [],  # noqa: B006
    lock: Annotated[
        Path | None, typer.Option(help="Lock prompts, target, margin, judge and number of images in this file.")
    ] = None,
    timing: Annotated[bool, typer.Option(help="Make two batches, to know the minutes.")] = True,
    steps: given.Steps = None,
    guidance: given.Guidance = None,
    scheduler: given.Scheduler = None,
    size: given.Size = None,
    negative_prompt: given.NegativePrompt = None,
    seed: given.Seed = 0,
    device: given.Device = "auto",
    dtype: given.Dtype = "auto",
    batch_size: given.BatchSize = None,
    revision: given.Revision = None,
    variant: given.Variant = None,
    lora: given.Lora = None,
    endpoint_model: given.EndpointModel = None,
    max_cost: given.MaxCost = None,
    image_price: given.ImagePrice = None,
    concurrency: given.Concurrency = 4,
    endpoint_seeds: given.EndpointSeeds = False,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Say how many images and minutes an audit takes for what one may want to know; lock it before it is made."""
    config = AuditConfig(
        source=source,
        question=Question(
            concepts=tuple(concept),
            phrases=given.phrases(present, absent),
            targets=tuple(target),
            prompts=prompts,
            limit=limit,
        ),
        effort=Effort(images_per_prompt=images_per_prompt, precision=precision, until_decided=until_decided, seed=seed),
        image=given.image_options(steps, guidance, scheduler, size, negative_prompt),
        model=given.model_options(device, dtype, batch_size, revision, variant, lora),
        endpoint=EndpointOptions(
            model=endpoint_model,
            max_cost=max_cost,
            image_price=image_price,
            concurrency=concurrency,
            seeds=endpoint_seeds,
        ),
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
