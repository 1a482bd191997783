"""What reproduces the page elsewhere: a command, Python lines, a run directory with its report."""

from __future__ import annotations

import csv
import dataclasses
import io
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import slug, write_bytes
from ..interventions.storage import save_intervention
from ..methods.table import method_of
from ..report.build import write_report
from ..store import RunDirectory
from ..verbs.arm import plan_arm
from ..verbs.audit import Opened, run_audit
from ..verbs.config import AuditConfig
from ..verbs.defaults import read_card
from ..verbs.observe import keys_of
from ..verbs.prepare import prepare
from ..verbs.sets import cut_facts
from ..verbs.sources import ModelSource
from ..watch import Silent
from .bench import Bench
from .checking import corrected
from .label_queue import Check, sheet_text
from .session import Session

_QUESTION = {"prompts": "--prompts", "limit": "--limit"}
_EFFORT = {"images_per_prompt": "--images-per-prompt", "precision": "--precision", "seed": "--seed"}
_IMAGE = {
    "steps": "--steps",
    "guidance": "--guidance",
    "scheduler": "--scheduler",
    "negative_prompt": "--negative-prompt",
}
_MODEL = {
    "device": "--device",
    "dtype": "--dtype",
    "batch_size": "--batch-size",
    "revision": "--revision",
    "variant": "--variant",
    "lora": "--lora",
}


def config_of(session: Session, bench: Bench, *, specs: Sequence[str] = (), any_time: bool = True) -> AuditConfig:
    """What was done, as the record that every verb takes.

    Args:
        session: with one image or more.
        bench: whose batch size, steps and guidance made them; they decide an image's last bits.
        specs: interventions; for a comparison one arm each.
        any_time: whether intervals hold whenever one stops.
    """
    images = len(session.series().requests)
    if session.look is None:
        raise InputError("there is no image yet: make some on the page Look first")
    config = session.look.config(images, any_time=any_time)
    options = dataclasses.replace(config.model, batch_size=bench.model.batch_size)
    return dataclasses.replace(config, model=options, interventions=tuple(specs))


def command(config: AuditConfig, verb: str = "audit") -> str:
    """The command line of a configuration: options that are not the default, in the order of the help.

    Args:
        config: of an audit or a comparison.
        verb: "audit" or "compare".
    """
    question, effort = config.question, config.effort
    parts = ["evenhand", verb, config.source]
    for name in question.concepts:
        parts += ["--concept", name]
    if question.phrases is not None:
        parts += ["--present", question.phrases[0], "--absent", question.phrases[1]]
    for text in question.associations:
        parts += ["--association", text]
    for text in question.targets:
        parts += ["--target", text]
    parts += _given(question, _QUESTION)
    parts += [] if question.benign else ["--no-benign"]
    parts += _given(effort, _EFFORT)
    parts += ["--any-time"] if effort.any_time else []
    parts += [] if config.judge is None else ["--judge", config.judge]
    for spec in config.interventions:
        parts += ["--with", spec]
    parts += _given(config.image, _IMAGE)
    if config.image.size is not None:
        parts += ["--size", "{}x{}".format(*config.image.size)]
    parts += _given(config.model, _MODEL)
    parts += [] if config.labels is None else ["--labels", str(config.labels)]
    return shlex.join(parts)


def python_lines(config: AuditConfig, verb: str = "audit") -> str:
    """A program of the same configuration; it states what is not the default.

    Args:
        config: of an audit or a comparison.
        verb: "audit" or "compare".
    """
    home = "evenhand" if verb == "audit" else f"evenhand.verbs.{verb}"
    names = sorted(_names(config))
    first = [f"from evenhand import {', '.join(names)}"] if verb != "audit" else []
    first += [f"from {home} import {', '.join([*names, verb] if verb == 'audit' else [verb])}"]
    return "\n".join([*first, "", f"done = {verb}({_written(config, 0)})", "print(done.run)", ""])


def write_run(session: Session, bench: Bench) -> Path:
    """The images of a tab as the run directory of its audit, with result.json and report.html; returns the report.

    No image is made again: the same command finds all of them there. Disputed images are listed in `disputed.csv`.

    Raises: InputError where there is no image; RunDirectoryError, StorageError as an audit does.
    """
    report = _audited(session, bench, config_of(session, bench))
    if session.disputed:
        write_bytes(report.parent / "disputed.csv", disputed_text(session).encode())
    return report


def disputed_text(session: Session) -> str:
    """The images that the person disputes, as CSV. No verb reads it: whoever clicks chooses."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "prompt", "seed", *(f"perceived:{one.name}" for one in session.concepts)])
    for number in sorted(session.disputed):
        seen = session.plain.seen[number]
        labels = [one.label or "" for one in seen.verdicts[: len(session.concepts)]]
        writer.writerow([number + 1, seen.request.prompt, seen.request.seed, *labels])
    return text.getvalue()


def write_labelled_run(session: Session, bench: Bench, check: Check) -> tuple[Path, str]:
    """The images that a queue was drawn from as a run, the labels as its sheet; returns the report and the command.

    Raises: as `write_run`; InputError while a label is missing.
    """
    corrected(session, check)
    whole = config_of(session, bench, any_time=False)
    effort = dataclasses.replace(whole.effort, images_per_prompt=check.images)
    config = dataclasses.replace(whole, effort=effort)
    folder = _audited(session, bench, config).parent
    with RunDirectory.open(folder, config=prepare(config).resolved, facts=_whole(bench, config)) as run:
        files = {line["index"]: line["file"] for line in run.done().values()}
    sheet = folder / "labels.csv"
    write_bytes(sheet, sheet_text(check, files, session.look.prompt if session.look else "").encode())
    config = dataclasses.replace(config, labels=sheet)
    return _audited(session, bench, config), command(config)


def _whole(bench: Bench, config: AuditConfig) -> dict[str, Any]:
    """What run.json holds beside the configuration."""
    cut = cut_facts(bench.model.host, prepare(config).series, Silent())
    return {"verb": "audit", "command": config.command, **bench.facts(), **cut}


def _audited(session: Session, bench: Bench, config: AuditConfig) -> Path:
    """The report of a configuration whose images the tab has."""
    config = dataclasses.replace(config, command=command(config))
    prepared = prepare(config)
    (series,) = prepared.series
    model, settings = bench.model, bench.model.settings
    facts = _whole(bench, config)
    with RunDirectory.open(prepared.out, config=prepared.resolved, facts=facts) as run:
        missing = dict(keys_of(run.facts, series, settings, None))
        verdicts = {}
        pairs = list(zip(missing.items(), session.plain.seen, strict=False))
        for place in run.missing([key for (key, _), _ in pairs]):
            (key, request), seen = pairs[place]
            sample = dataclasses.replace(seen.sample, request=request)
            run.commit(key, sample, prompt_set=series.name, place=place)
            verdicts[key] = seen.verdicts[: len(series.concepts)]
        if verdicts:
            run.commit_verdicts(bench.judge.hash, verdicts)
            part = len(series.requests) / len(session.plain.seen)
            run.spend(round(part * session.plain.evaluations), part * session.plain.seconds)
    source = ModelSource(model.host, settings, bench.judge)
    done = run_audit(prepare(config), Silent(), Opened(source=source, settings=settings, facts=facts))
    return write_report(done.run)


def save_fits(specs: Sequence[str], session: Session, bench: Bench, folder: Path) -> list[Path]:
    """The interventions of a stack that were fitted, saved for `--with FOLDER`; returns their folders.

    Args:
        specs: the stack; what needs no fit is whole in its SPEC, and has no folder.
        session: whose targets and seed hold.
        bench: the model that they were fitted on; what was never fitted is fitted now.
        folder: where the folders are made.
    """
    planned = plan_arm(specs, read_card(bench.source), session.concepts, session.look.seed if session.look else 0)
    saved = []
    for number, spec in enumerate(planned.specs, 1):
        if spec.path is not None or planned.setting is None:
            continue
        method, values = method_of(spec)
        for place, plan in enumerate(method.plans(planned.setting, values)):
            found = bench.fitted(plan)
            name = slug(f"{number}-{spec.method}" + (f"-{place + 1}" if place else ""))
            save_intervention(folder / name, found.tensors, found.card)
            saved.append(folder / name)
    return saved


def _given(record: Any, options: dict[str, str]) -> list[str]:
    changed = _changed(record)
    return [text for field, option in options.items() if field in changed for text in (option, str(changed[field]))]


def _changed(record: Any) -> dict[str, Any]:
    """The fields of a record that are not the default."""
    found = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value != default:
            found[field.name] = value
    return found


def _names(record: Any) -> set[str]:
    inner = [value for value in _changed(record).values() if dataclasses.is_dataclass(value)]
    return {type(record).__name__}.union(*(_names(one) for one in inner))


def _written(record: Any, depth: int) -> str:
    pad = "    " * (depth + 1)
    lines = []
    for name, value in _changed(record).items():
        text = _written(value, depth + 1) if dataclasses.is_dataclass(value) else repr(value)
        lines.append(f"{pad}{name}={text},")
    return "\n".join([f"{type(record).__name__}(", *lines, "    " * depth + ")"])
