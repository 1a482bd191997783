"""Prompt sets: rows of prompts, those that ship and the user's own."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from ..errors import ConceptError
from ..records import Record
from .benchmark_sets import FORMATS, Entry, facts_of, fetch_i2p, format_of, read_benchmark
from .concept import Concept, ConceptClass
from .prompt_files import read_prompt_file
from .reading import did_you_mean, parse_toml, read_text

_PROMPT_SETS = Path(__file__).parent / "prompt_sets"
_FILES = (".txt", ".csv", ".parquet")
I2P = "i2p"
"""The set that is fetched from the Hub by its name alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptRow(Record):
    """One row of a prompt set: a group such as "nurse" with its templates.

    Args:
        name: what results call the row.
        templates: the prompts themselves; image i uses template i mod T.
        phrase: what a picture of this row shows ("a photo of a nurse"), for the metric `recognised`; None: unsaid.
        published: of a published set, what its file says of the row: categories, seed, guidance, size; None elsewhere.
    """

    name: str
    templates: tuple[str, ...]
    phrase: str | None = None
    published: Entry | None = None

    def prompt(self, index: int) -> str:
        """The prompt of image `index`."""
        return self.templates[index % len(self.templates)]

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        plain = {"name": self.name, "templates": list(self.templates), "phrase": self.phrase}
        return plain if self.published is None else {**plain, "published": dataclasses.asdict(self.published)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The row of a dict made by `to_dict`; unknown keys are an error."""
        fields = dict(data)
        told = fields.pop("published", None)
        entry = None if told is None else Entry(**{**told, "categories": tuple(told["categories"])})
        return cls(**{**fields, "templates": tuple(fields["templates"])}, published=entry)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptSet(Record):
    """Rows of prompts under one name; `recognised` says that the rows' phrases tell the pictures apart.

    `facts` are those of a published set: how many rows, different prompts, and rows of each category it has.

    Raises: ConceptError for a set without rows, or with two rows of one name.
    """

    name: str
    rows: tuple[PromptRow, ...]
    source: str = ""
    recognised: bool = False
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = Counter(row.name for row in self.rows)
        if not counts:
            raise ConceptError(f'prompt set "{self.name}" has no prompts; give one or more')
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise ConceptError(f'prompt set "{self.name}": row "{twice[0]}" is given twice; keep one')

    def restricted(self, known: Callable[[str], bool]) -> tuple[PromptSet, tuple[str, ...]]:
        """The set of the rows whose name is known to the model, and the names of those left out.

        Raises: ConceptError when no row is left.
        """
        kept = tuple(row for row in self.rows if known(row.name))
        left_out = tuple(row.name for row in self.rows if not known(row.name))
        if not kept:
            raise ConceptError(
                f'the model knows none of the {len(left_out)} rows of prompt set "{self.name}" '
                f"({', '.join(left_out[:3])}, ...); name another set with --prompts"
            )
        return dataclasses.replace(self, rows=kept), left_out

    def as_concept(self) -> Concept | None:
        """The rows as the classes of a concept, which a judge tells apart for the metric `recognised`.

        None where fewer than two rows have a phrase, or the set does not say that they can be told apart.
        """
        classes = tuple(ConceptClass(name=row.name, phrases=(row.phrase,)) for row in self.rows if row.phrase)
        if not self.recognised or len(classes) < 2:
            return None
        return Concept(name=self.name, classes=classes, prompts=self.name, source=self.source)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        rows = [row.to_dict() for row in self.rows]
        plain = {"name": self.name, "rows": rows, "source": self.source, "recognised": self.recognised}
        return {**plain, "facts": dict(self.facts)} if self.facts else plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The set of a dict made by `to_dict`; unknown keys are an error."""
        fields = dict(data)
        rows = tuple(PromptRow.from_dict(row) for row in fields.pop("rows"))
        return cls(**fields, rows=rows)


def prompt_set_names() -> tuple[str, ...]:
    """The names of the prompt sets that ship, sorted."""
    return tuple(sorted(path.stem for path in _PROMPT_SETS.glob("*.toml")))


def load_prompts(name_or_path: str | Path) -> PromptSet:
    """A prompt set by its name, or from a file.

    A .txt file holds one prompt a line; a .csv file has a column `prompt` and optionally `group`: the prompts of
    one group are the templates of one row. A column `phrase` says what a row's pictures show ("a photo of a picnic");
    where every row has one, it is measured whether they are recognised among each other.

    "i2p" is I2P from the Hub. The files of published sets (`FORMATS`) are known by their columns, or by the set's name
    before the path: "ring-a-bell:prompts.csv". Each record is a row of its own; a prompt that stands there again has
    its number behind it.

    Raises: ConceptError when there is no such set, or the file is empty or malformed (line and column are named).
    """
    text = str(name_or_path)
    if text in prompt_set_names():
        return _built_in(text)
    if text == I2P:
        return _published(I2P, read_benchmark(fetch_i2p()), I2P)
    prefix, _, rest = text.partition(":")
    if prefix in FORMATS and rest:
        return _published(Path(rest).name, read_benchmark(Path(rest), prefix), prefix)
    path = Path(text)
    if path.suffix.lower() not in _FILES:
        raise ConceptError(
            f'unknown prompt set "{text}"; expected one of {", ".join(prompt_set_names())}, {I2P}, a .txt, .csv or '
            f".parquet file, or one of {', '.join(f'{name}:FILE' for name in FORMATS)}"
            f"{did_you_mean(text, [*prompt_set_names(), *FORMATS])}"
        )
    known = format_of(path)
    if known is not None:
        return _published(path.name, read_benchmark(path, known), known)
    rows = read_prompt_file(path)
    return PromptSet(
        name=path.name,
        rows=tuple(PromptRow(name=name, templates=tuple(row.prompts), phrase=row.phrase) for name, row in rows.items()),
        source=f"file {path.name}",
        recognised=all(row.phrase for row in rows.values()),
    )


def _published(name: str, entries: Sequence[Entry], kind: str) -> PromptSet:
    seen: Counter[str] = Counter()
    names: set[str] = set()
    rows = []
    for entry in entries:
        plain = called = entry.prompt.strip()
        seen[plain] += 1
        while called in names:
            called = f"{plain} ({seen[plain]})"
            seen[plain] += called in names
        names.add(called)
        rows.append(PromptRow(name=called, templates=(entry.prompt,), published=entry))
    return PromptSet(
        name=name, rows=tuple(rows), source=FORMATS[kind].source, facts=facts_of(entries, FORMATS[kind].title)
    )


def _built_in(name: str) -> PromptSet:
    path = _PROMPT_SETS / f"{name}.toml"
    data = parse_toml(read_text(path), path)
    return PromptSet(
        name=data["name"],
        rows=tuple(_row({"name": row} if isinstance(row, str) else row, data) for row in data["rows"]),
        source=data["source"],
        recognised=data["recognised"],
    )


def _row(row: dict[str, Any], shared: dict[str, Any]) -> PromptRow:
    """One row of a file that ships: its own `templates` and `phrase`, else the shared ones with its words in them."""
    name = row["name"]
    article = "an" if name[0] in "aeiou" else "a"
    phrase = row.get("phrase", shared["phrase"]).replace("{article}", article).replace("{}", name)
    templates = row.get("templates", shared["templates"])
    words = row.get("fill", name)
    return PromptRow(name=name, templates=tuple(one.replace("{}", words) for one in templates), phrase=phrase or None)
