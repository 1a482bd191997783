"""`evenhand list`: what there is to choose from, derived from the tables themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rich.box import SIMPLE
from rich.console import RenderableType
from rich.table import Table


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _concepts() -> RenderableType:
    from ..concepts.library import concept_names, load_concept

    table = _table("concept", "kind", "classes", "prompts")
    for name in concept_names():
        concept = load_concept(name)
        table.add_row(name, concept.kind, ", ".join(concept.class_names), concept.prompts or "")
    return table


def _prompts() -> RenderableType:
    from ..concepts.prompts import load_prompts, prompt_set_names

    table = _table("prompt set", "rows", "templates", "for example")
    for name in prompt_set_names():
        prompts = load_prompts(name)
        row = prompts.rows[0]
        table.add_row(name, str(len(prompts.rows)), str(len(row.templates)), row.templates[0])
    return table


def _judges() -> RenderableType:
    from ..judges.load import judge_names

    table = _table("judge", "what it is")
    for name, what in judge_names().items():
        table.add_row(name, what)
    table.add_row("PATH or Hub id", "any CLIP model of transformers, zero-shot")
    return table


def _methods() -> RenderableType:
    from ..methods.table import all_methods

    table = _table("method", "what it does", "parameters", "source")
    for method in all_methods().values():
        parameters = "\n".join(f"{one.name}={one.default or ''}  {one.help}" for one in method.parameters)
        table.add_row(method.name, method.summary, parameters, method.source)
    return table


LISTINGS: Mapping[str, Callable[[], RenderableType]] = {
    "methods": _methods,
    "judges": _judges,
    "concepts": _concepts,
    "prompts": _prompts,
}
"""What can be listed, and how."""
