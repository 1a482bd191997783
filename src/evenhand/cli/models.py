"""`evenhand audit` of several models."""

from __future__ import annotations

import json as json_format

import typer
from rich.console import Console

from ..verbs.config import AuditConfig
from .terminal import Bars


def audit_models(
    sources: list[str], config: AuditConfig, fail_on: list[str], *, dry_run: bool, json: bool, quiet: bool
) -> None:
    """Audit several models; the options are those of `audit`."""
    from ..verbs.models import prepare_models
    from ..verbs.prepare import describe
    from ..verbs.thresholds import check_thresholds, parse_threshold

    prepared = prepare_models(sources, config)
    first = prepared.audits[0]
    thresholds = [parse_threshold(text, first.concepts, first.recognitions) for text in fail_on]
    if dry_run:
        for name, one in zip(prepared.names, prepared.audits, strict=True):
            typer.echo("\n".join([f"{name}:", *(f"  {line}" for line in describe(one))]))
        return
    with Bars(quiet=quiet or json) as bars:
        from ..report.build import write_report
        from ..report.models import models_table, write_models_report
        from ..verbs.run_models import run_models

        done = run_models(prepared, bars)
        for one in done.audits:
            write_report(one.run)
        report = write_models_report(done.run)
    if json:
        typer.echo(json_format.dumps(done.result, indent=2, ensure_ascii=False, allow_nan=False))
    elif quiet:
        typer.echo(str(report))
    else:
        Console().print(models_table(done.result))
        typer.echo(f"report: {report}")
    for one in done.audits:
        check_thresholds(thresholds, one.estimates)
