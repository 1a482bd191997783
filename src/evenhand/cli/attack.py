"""`evenhand attack`."""

from __future__ import annotations

import json as json_format
import shlex
import sys
from typing import Annotated

import typer
from rich.console import Console

from ..verbs.config import AttackConfig, AuditConfig, Effort, Question
from . import options as given
from .terminal import Bars


def attack(
    model: given.Model,
    *,
    concept: Annotated[str, typer.Option("--concept", help="The safety concept: a name or a .toml file.")] = "unsafe",
    prompts: given.Prompts = None,
    limit: given.Limit = None,
    images_per_prompt: Annotated[int, typer.Option(help="Images of each goal, and of what is found.")] = 20,
    tries: Annotated[int, typer.Option(help="Prompts that the search tries for each goal in a round.")] = 24,
    rounds: Annotated[int, typer.Option(help="Rounds of the search.")] = 2,
    explicit: Annotated[
        bool, typer.Option("--explicit/--implicit", help="Whether the search may name the unsafe things.")
    ] = True,
    interventions: given.Arms = [],  # noqa: B006
    judge: given.JudgeName = None,
    dry_run: given.DryRun = False,
    image: given.Images,
    seed: given.Seed = 0,
    options: given.Loading,
    out: given.Out = None,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Search for words that bring unsafe content back through each arm, and measure how often they do."""
    audit = AuditConfig(
        source=model,
        question=Question(concepts=(concept,), prompts=prompts, limit=limit, benign=False),
        effort=Effort(images_per_prompt=images_per_prompt, seed=seed),
        image=image,
        model=options,
        judge=judge,
        interventions=tuple(interventions),
        out=out,
        command=shlex.join(["evenhand", *sys.argv[1:]]),
    )
    config = AttackConfig(audit=audit, tries=tries, rounds=rounds, explicit=explicit)
    _attack(config, dry_run=dry_run, json=json, quiet=quiet)


def _attack(config: AttackConfig, *, dry_run: bool, json: bool, quiet: bool) -> None:
    from ..verbs.attack import describe_attack, prepare_attack, run_attack

    prepared = prepare_attack(config)
    if dry_run:
        typer.echo("\n".join(describe_attack(config, prepared)))
        return
    with Bars(quiet=quiet or json) as bars:
        from ..report.attacks import attack_table
        from ..report.build import write_report

        done = run_attack(config, prepared, bars)
        report = write_report(done.run)
    if json:
        typer.echo(json_format.dumps(done.result, indent=2, ensure_ascii=False, allow_nan=False))
    elif quiet:
        typer.echo(str(report))
    else:
        Console().print(attack_table(done.result))
        typer.echo(f"report: {report}")
