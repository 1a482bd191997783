"""The commands of `evenhand`."""

# What needs torch is imported inside the command that needs it: help and refusals then come at once.

from __future__ import annotations

import json as json_format
import shlex
import sys
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..errors import InputError
from ..verbs.config import AuditConfig, GenerateConfig
from . import options as given
from .attack import attack
from .diff import diff
from .exits import Commands
from .groups import grouped
from .listings import LISTINGS
from .models import audit_models
from .serve import serve
from .studio import studio
from .terminal import Bars, calm

if TYPE_CHECKING:
    from ..verbs.fit import FitConfig

_WITH = "Examples, whole: --target gender=female:0.5,male:0.5 --with concept-vector:concept=gender"
"""Below the help of what measures: a narrow terminal cuts long words in the table above."""
_GATED = f"{_WITH} --association origin:scarf --fail-on 'deviation.gender.high<=0.1'"

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure and correct the bias and the unsafe content of text-to-image diffusion models.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"evenhand {installed_version('evenhand')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options of no command in particular."""
    calm()


@app.command(epilog=_GATED)
@grouped
def audit(
    source: given.Sources,
    *,
    question: given.Asked,
    effort: given.Amount,
    judge: given.Judges = [],  # noqa: B006
    labels: given.Labels = None,
    interventions: given.With = [],  # noqa: B006
    plan: given.Plan = None,
    dry_run: given.DryRun = False,
    fail_on: given.FailOn = [],  # noqa: B006
    image: given.Images,
    options: given.Loading,
    endpoint: given.Endpoint,
    engine: given.Engine = "local",
    out: given.Out = None,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Measure the bias or the safety of a model or of a folder of images; several are compared with the first."""
    config = AuditConfig(
        source=source[0],
        question=question,
        effort=effort,
        image=image,
        model=options,
        endpoint=endpoint,
        judge=judge[0] if judge else None,
        panel=tuple(judge[1:]),
        labels=labels,
        interventions=tuple(interventions),
        plan=plan,
        engine=engine,
        out=out,
        command=_command(),
    )
    if len(source) > 1:
        audit_models(source, config, fail_on, dry_run=dry_run, json=json, quiet=quiet)
    else:
        _audit(config, fail_on, dry_run=dry_run, json=json, quiet=quiet)


def _audit(config: AuditConfig, fail_on: list[str], *, dry_run: bool, json: bool, quiet: bool) -> None:
    from ..verbs.prepare import describe, prepare
    from ..verbs.sequential import ANY_TIME
    from ..verbs.thresholds import check_thresholds, parse_threshold

    prepared = prepare(config)
    if fail_on and config.effort.until_decided:
        raise InputError("--fail-on asks for figures over prompts, and --until-decided states none; leave one out")
    sets = [one.name for one in prepared.series]
    thresholds = [parse_threshold(text, prepared.concepts, prepared.recognitions, sets) for text in fail_on]
    if config.effort.stops and any(one.metric not in ANY_TIME for one in thresholds):
        raise InputError(f"--fail-on with --precision: expected {', '.join(ANY_TIME)}; the others are not stated then")
    if dry_run:
        typer.echo("\n".join(describe(prepared)))
        return
    with Bars(quiet=quiet or json) as bars:
        from ..report.build import write_report
        from ..report.text import headline, summary_table
        from ..verbs.audit import run_audit
        from ..verbs.observe import check_made

        done = run_audit(prepared, bars)
        report = write_report(done.run)
    if json:
        echo_json(done.result)
    elif quiet:
        typer.echo(str(report))
    else:
        console = Console()
        console.print(headline(done.result), markup=False, highlight=False)
        console.print(summary_table(done.result))
        typer.echo(f"report: {report}")
    check_thresholds(thresholds, done.estimates)
    check_made(done.result)


@app.command(epilog=_WITH)
@grouped
def compare(
    model: given.Model,
    *,
    question: given.Asked,
    effort: given.PairedAmount,
    judge: given.JudgeName = None,
    interventions: given.Arms = [],  # noqa: B006
    dry_run: given.DryRun = False,
    image: given.Images,
    options: given.Loading,
    engine: given.Engine = "local",
    out: given.Out = None,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Measure a model and arms of interventions on the same seeds, with the baselines that cost nothing."""
    config = AuditConfig(
        source=model,
        question=question,
        effort=effort,
        image=image,
        model=options,
        judge=judge,
        interventions=tuple(interventions),
        engine=engine,
        out=out,
        command=_command(),
    )
    _compare(config, dry_run=dry_run, json=json, quiet=quiet)


def _compare(config: AuditConfig, *, dry_run: bool, json: bool, quiet: bool) -> None:
    from ..verbs.compare import describe_compare, prepare_compare, run_compare

    prepared = prepare_compare(config)
    if dry_run:
        typer.echo("\n".join(describe_compare(prepared)))
        return
    with Bars(quiet=quiet or json) as bars:
        from ..report.build import write_report
        from ..report.compared import compare_table
        from ..verbs.observe import check_made

        done = run_compare(prepared, bars)
        report = write_report(done.run)
    if json:
        echo_json(done.result)
    elif quiet:
        typer.echo(str(report))
    else:
        console = Console()
        console.print(compare_table(done.result))
        for one in done.result["recommendations"]:
            console.print(one["text"], markup=False, highlight=False)
        typer.echo(f"report: {report}")
    check_made(done.result)


@app.command()
@grouped
def generate(
    model: given.Model,
    prompt: Annotated[str, typer.Argument(help="What the images should show.")],
    *,
    images: Annotated[int, typer.Option("-n", help="How many images.")] = 1,
    interventions: given.With = [],  # noqa: B006
    latents: Annotated[bool, typer.Option("--latents", help="Store the latents beside the images.")] = False,
    image: given.Images,
    seed: given.Seed = 0,
    options: given.Loading,
    out: given.Out = None,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Make images of one prompt; image i starts from seed + i, as with plain diffusers."""
    config = GenerateConfig(
        source=model,
        prompt=prompt,
        images=images,
        seed=seed,
        latents=latents,
        interventions=tuple(interventions),
        image=image,
        model=options,
        out=out,
    )
    with Bars(quiet=quiet or json) as bars:
        from ..verbs.generate import generate as run

        done = run(config, bars)
    if json:
        echo_json(done.listing)
    else:
        typer.echo(str(done.out))


@app.command()
@grouped
def fit(
    method: Annotated[str, typer.Argument(help="A method, or method:key=value,... (see `evenhand list methods`).")],
    model: given.Model,
    *,
    concept: Annotated[
        str | None, typer.Option("--concept", help="The concept: a name, a joint, or a .toml file.")
    ] = None,
    present: given.Present = None,
    absent: given.Absent = None,
    target: given.Targets = [],  # noqa: B006
    dry_run: given.DryRun = False,
    judge: Annotated[str | None, typer.Option("--judge", help="The fit judge; the report judge is refused.")] = None,
    seed: given.Seed = 0,
    options: given.Loading,
    out: given.FitOut = None,
    json: given.Json = False,
    quiet: given.Quiet = False,
) -> None:
    """Learn an intervention on a model and save it, for --with FOLDER."""
    given.phrases(present, absent)
    parts = {"concept": concept, "present": present, "absent": absent}
    typed = ",".join(f"{key}={json_format.dumps(value)}" for key, value in parts.items() if value is not None)
    spec = method if not typed else f"{method}{',' if ':' in method else ':'}{typed}"
    from ..verbs.fit import FitConfig

    config = FitConfig(method=spec, source=model, judge=judge, seed=seed, model=options, targets=tuple(target), out=out)
    _fit(config, dry_run=dry_run, json=json, quiet=quiet)


def _fit(config: FitConfig, *, dry_run: bool, json: bool, quiet: bool) -> None:
    if dry_run:
        from ..verbs.fit import prepare_fit
        from ..verbs.fit_plan import describe_fit

        typer.echo("\n".join(describe_fit(prepare_fit(config))))
        return
    with Bars(quiet=quiet or json) as bars:
        from ..report.decision_plot import write_decision_plots
        from ..report.fit_text import fit_lines
        from ..report.sweep_plot import write_sweep_plots
        from ..verbs.fit import fit as run

        done = run(config, bars)
        write_decision_plots(done.cards)
        write_sweep_plots(done.cards)
    if json:
        echo_json(done.cards)
        return
    if not quiet:
        for card in done.cards.values():
            typer.echo("\n".join(fit_lines(card)))
    typer.echo(str(done.out))


app.command()(diff)
app.command()(grouped(attack))
app.command()(grouped(serve))
app.command()(grouped(studio))


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help=", ".join(LISTINGS) + ".")]) -> None:
    """List what there is to choose from."""
    if what not in LISTINGS:
        raise InputError(f"list {what}: expected {', '.join(LISTINGS)}")
    Console().print(LISTINGS[what]())


def _command() -> str:
    return shlex.join(["evenhand", *sys.argv[1:]])


def echo_json(value: object) -> None:
    """A value as indented JSON on standard output."""
    typer.echo(json_format.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
