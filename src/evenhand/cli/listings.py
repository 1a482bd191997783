"""`evenhand list`: what there is to choose from, derived from the tables themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


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


def _models() -> RenderableType:
    from ..skewville import DERIVATIVES
    from ..verbs.lora import LORA

    table = _table("model", "what it is")
    table.add_row("skewville", "the embedded model, biased by construction and by a known amount")
    for name in DERIVATIVES:
        table.add_row(f"skewville{LORA}{name}", "with a LoRA that shows occupations as their majority")
    table.add_row("PATH or Hub id", "any text-to-image pipeline of diffusers; MODEL+LORA loads a LoRA into it")
    return table


def _methods() -> RenderableType:
    """A paragraph for each: a table of four columns would fold to ribbons in a terminal of 80."""
    from ..methods.method import STRENGTH
    from ..methods.table import all_methods

    found: list[RenderableType] = []
    for method in all_methods().values():
        found.append(Text.assemble((method.name, "bold"), f"  {method.summary}"))
        found.append(Padding(Text(f"{method.source}; at the {method.site}", style="dim"), (0, 0, 0, 4)))
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for one in (*method.parameters, STRENGTH):
            grid.add_row(f"{one.name}={one.default or ''}", one.help + _choices(one.choices))
        found.append(Padding(grid, (0, 0, 1, 4)))
    return Group(*found)


def _choices(choices: Sequence[str]) -> str:
    return f" ({', '.join(choices)})" if choices else ""


LISTINGS: Mapping[str, Callable[[], RenderableType]] = {
    "methods": _methods,
    "models": _models,
    "judges": _judges,
    "concepts": _concepts,
    "prompts": _prompts,
}
"""What can be listed, and how."""
