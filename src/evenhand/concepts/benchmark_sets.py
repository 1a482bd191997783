"""Published prompt sets for safety, as the files that their authors release: I2P, and adversarial prompts.

A table, CSV or Parquet, whose columns differ from set to set. What a row of it says besides its prompt is kept: the
categories that it belongs to, the seed, guidance and size that it was found with, and how often its authors' images
of it were inappropriate. None of these files ships with the package.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConceptError, InputError
from .reading import read_text

I2P_REPOSITORY, I2P_FILE = "AIML-TUDA/i2p", "i2p_benchmark.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetFormat:
    """What a published set calls its columns: the first of `prompt` that a file has is used.

    Args:
        title: the set's name.
        source: the paper.
        prompt: names of the column of prompts.
        bare: whether a file without a header, with a prompt a record, is one of this set.
    """

    title: str
    source: str
    prompt: tuple[str, ...] = ("prompt",)
    bare: bool = False


FORMATS: Mapping[str, SetFormat] = {
    "i2p": SetFormat(title="I2P", source="Schramowski et al., CVPR 2023, arXiv:2211.05105"),
    "ring-a-bell": SetFormat(
        title="Ring-A-Bell",
        source="Tsai et al., ICLR 2024, arXiv:2310.10012",
        prompt=("adv_prompt", "sensitive prompt", "prompt"),
        bare=True,
    ),
    "mma-diffusion": SetFormat(
        title="MMA-Diffusion",
        source="Yang et al., CVPR 2024, arXiv:2311.17516",
        prompt=("adv_prompt",),
    ),
    "p4d": SetFormat(
        title="P4D",
        source="Chin et al., ICML 2024, arXiv:2309.06135",
        prompt=("adv_prompt", "p4d_prompt", "prompt"),
    ),
    "unlearndiffatk": SetFormat(
        title="UnlearnDiffAtk",
        source="Zhang et al., ECCV 2024, arXiv:2310.11868",
        prompt=("adv_prompt", "prompt"),
    ),
    "adversarial": SetFormat(
        title="adversarial prompts",
        source="as its file says",
        prompt=("adv_prompt", "sensitive prompt", "prompt"),
        bare=True,
    ),
}
"""The sets by the name that stands before a file: `ring-a-bell:prompts.csv`."""

_SEED = ("sd_seed", "evaluation_seed")
_GUIDANCE = ("sd_guidance_scale", "evaluation_guidance")
_WIDTH, _HEIGHT = ("sd_image_width",), ("sd_image_height",)
_PERCENTAGE = ("inappropriate_percentage",)
_TELLING = {"adv_prompt", "sensitive prompt", "inappropriate_percentage", *_SEED, *_GUIDANCE}
"""Columns by which a file is known for one of these without its name before it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One record of such a file; None where it does not say.

    `seed`, `guidance`, `width` and `height` are those that the prompt was published with; `percentage` is how many of
    a hundred images its authors found inappropriate.
    """

    prompt: str
    categories: tuple[str, ...] = ()
    seed: int | None = None
    guidance: float | None = None
    width: int | None = None
    height: int | None = None
    percentage: float | None = None


def format_of(path: Path) -> str | None:
    """Which published set a file is by its columns, None where it is a plain file of prompts or not there.

    Parquet is a published set always. Files that only tell that they are adversarial are called so.
    """
    columns = _columns(path)
    if not _TELLING & columns and path.suffix.lower() != ".parquet":
        return None
    if "sanitized_adv_prompt" in columns:
        return "mma-diffusion"
    return "i2p" if {"inappropriate_percentage", "categories"} & columns else "adversarial"


def _columns(path: Path) -> set[str]:
    if path.suffix.lower() == ".parquet" and path.is_file():
        return {column for record in _parquet(path)[:1] for column in record}
    if path.suffix.lower() != ".csv" or not path.is_file():
        return set()
    head = read_text(path).partition("\n")[0]
    return {field.strip().casefold() for field in next(csv.reader([head]), [])}


def read_benchmark(path: Path, name: str = "i2p") -> list[Entry]:
    """The records of a published set, in the order of the file.

    Args:
        path: a .csv or .parquet file.
        name: one of `FORMATS`.

    Raises: ConceptError for a file that cannot be read, has no column of prompts, a record without a prompt, or a
        value that is no number where one belongs (line or record is named).
    """
    form = FORMATS[name]
    records = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path, form)
    column = next((one for one in form.prompt if records and one in records[0]), None)
    if not records:
        raise ConceptError(f"{path} holds no prompt; expected a table of {form.title} with a column {form.prompt[0]!r}")
    if column is None:
        columns = ", ".join(repr(one) for one in records[0])
        expected = " or ".join(repr(one) for one in form.prompt)
        raise ConceptError(f"{path}: the columns are {columns}; expected a column {expected}, as in {form.title}")
    return [_entry(record, column, f"{path}, record {number}") for number, record in enumerate(records, 1)]


def fetch_i2p() -> Path:
    """The file of I2P, from the Hub or from its cache.

    Raises: ConceptError when it cannot be had; the line says how to give a file.
    """
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(I2P_REPOSITORY, I2P_FILE, repo_type="dataset"))
    except Exception as error:  # the client raises errors of many libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConceptError(
            f"prompt set i2p: {I2P_REPOSITORY} cannot be had from the Hub ({reason}); "
            "give the file itself: --prompts i2p:FILE.csv"
        ) from None


def facts_of(entries: Sequence[Entry], title: str) -> dict[str, Any]:
    """What a set is made of: rows, different prompts, rows of several categories, rows of each category."""
    counts = Counter(category for one in entries for category in one.categories)
    return {
        "set": title,
        "rows": len(entries),
        "prompts": len({one.prompt for one in entries}),
        "repeated": sum(count - 1 for count in Counter(one.prompt for one in entries).values()),
        "several_categories": sum(len(one.categories) > 1 for one in entries),
        "categories": dict(sorted(counts.items())),
    }


def _csv(path: Path, form: SetFormat) -> list[dict[str, Any]]:
    text = read_text(path)
    try:
        lines = [row for row in csv.reader(io.StringIO(text, newline="\n"), strict=True) if any(row)]
    except csv.Error as error:
        raise ConceptError(f"{path}: {error}; correct the quotes of the CSV") from error
    header = [field.strip().casefold() for field in lines[0]] if lines else []
    if form.bare and lines and not {*form.prompt, *_TELLING} & set(header):
        return [{form.prompt[-1]: ",".join(row)} for row in lines]
    return [dict(zip(header, row, strict=False)) for row in lines[1:]]


def _parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError(f"{path}: reading Parquet needs pyarrow: pip install 'evenhand[train]'") from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:
        raise ConceptError(f"cannot read {path} as Parquet: {str(error).splitlines()[0]}") from error
    return [{str(key).casefold(): value for key, value in row.items()} for row in rows]


def _entry(record: Mapping[str, Any], column: str, where: str) -> Entry:
    prompt = str(record[column] or "") if column in record else ""
    if not prompt.strip():
        raise ConceptError(f"{where}: no prompt in the column {column!r}; write one or remove the record")
    seed, width, height = (_number(record, names, where) for names in (_SEED, _WIDTH, _HEIGHT))
    return Entry(
        prompt=prompt,
        categories=_categories(record.get("categories")),
        seed=None if seed is None else int(seed) % 2**63,
        guidance=_number(record, _GUIDANCE, where),
        width=None if width is None else int(width),
        height=None if height is None else int(height),
        percentage=_number(record, _PERCENTAGE, where),
    )


def _categories(value: Any) -> tuple[str, ...]:
    """Names joined by commas, or a list of them; each once, in their order."""
    parts = value.split(",") if isinstance(value, str) else list(value or ())
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def _number(record: Mapping[str, Any], names: Sequence[str], where: str) -> float | None:
    name = next((one for one in names if record.get(one) not in (None, "")), None)
    if name is None:
        return None
    try:
        value = float(record[name])
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ConceptError(f"{where}: {name} is {record[name]!r}, expected a number")
    return value
