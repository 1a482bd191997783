"""A folder of images as a source: `manifest.csv` says what each one was made from, and may say what it shows."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..concepts.concept import Concept
from ..concepts.reading import check_columns, read_text
from ..errors import ConceptError, InputError
from ..files import read_image
from ..judges.base import Judge
from ..records import Record, Request, Sample, Verdict, content_hash
from .config import AuditConfig
from .series import Series

MANIFEST = "manifest.csv"
_LABEL = "label:"
_UNREADABLE = (
    OSError, EOFError, UnidentifiedImageError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError
)  # fmt: skip
"""What Pillow raises of a file that is no image, or a broken one."""
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_OF_A_MODEL = ("model_index.json", "evenhand.json")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item(Record):
    """One line of the manifest; `labels` holds the given classes by concept, "" where none was given."""

    file: str
    sha256: str
    prompt: str
    seed: int | None
    labels: Mapping[str, str]


def is_folder(source: str) -> bool:
    """Whether `source` is a folder of images with a manifest."""
    return (Path(source) / MANIFEST).is_file()


def check_manifest(source: str) -> None:
    """Raises InputError for a folder that holds images and no model, and lacks the manifest."""
    folder = Path(source)
    if is_folder(source) or not folder.is_dir() or any((folder / name).exists() for name in _OF_A_MODEL):
        return
    if any(path.suffix.lower() in _IMAGES for path in folder.rglob("*")):
        raise InputError(
            f"{folder} holds images and neither a model nor a {MANIFEST}: to audit its images, add {MANIFEST} with the "
            "columns file and prompt, and a line per image"
        )


def check_folder(config: AuditConfig) -> None:
    """Raises InputError for an option that says how images are made: those of a folder are there already."""
    effort, image = config.effort, config.image
    given = {
        "--images-per-prompt": effort.images_per_prompt,
        "--prompt-settings": config.question.own_settings,
        "--steps": image.steps,
        "--guidance": image.guidance is not None,
        "--scheduler": image.scheduler,
        "--size": image.size,
        "--negative-prompt": image.negative_prompt is not None,
        **config.model.given,
    }
    for option, value in given.items():
        if value:
            raise InputError(f"{option}: the images of a folder are made already; leave it out")


def read_manifest(folder: Path, concepts: Sequence[Concept]) -> tuple[Item, ...]:
    """The lines of `manifest.csv`: columns file and prompt, optionally seed and `label:<concept>`.

    Raises: InputError naming line and column for what is malformed, missing or no image; nothing is skipped.
    Cost: reads and decodes every file once.
    """
    path = folder / MANIFEST
    text = read_text(path)
    lines = text.split("\n")
    reader = csv.DictReader(io.StringIO(text, newline="\n"), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        check_columns(path, columns)
        for needed in ("file", "prompt"):
            if needed not in columns:
                found = ", ".join(columns) or "none"
                raise InputError(f"{path}, line 1: no column {needed!r}; found: {found}")
        items: list[Item] = []
        listed: dict[Path, int] = {}
        for record in reader:
            if None in record or None in record.values():
                place = f"line {reader.line_num}, column {len(lines[reader.line_num - 1]) + 1}"
                raise InputError(f"{path}, {place}: expected {len(columns)} fields, as in the header")
            fields = {str(key): str(value) for key, value in record.items()}
            items.append(_item(path, reader.line_num, fields, concepts))
            first = listed.setdefault((folder / items[-1].file).resolve(), reader.line_num)
            if first != reader.line_num:
                raise InputError(
                    f"{path}, line {reader.line_num}: {items[-1].file} stands in line {first} already; an image that "
                    "counts twice makes intervals too narrow, remove one"
                )
    except csv.Error as error:
        # The reader stands at the last good record; the one below it has the quote that does not close.
        line = min(reader.line_num + 1, len(lines))
        place = f"line {line}, column {max(lines[line - 1].find(chr(34)), 0) + 1}"
        raise InputError(f"{path}, {place}: {error}; correct the quotes") from error
    if not items:
        raise InputError(f"{path}: no image is listed; expected one line per image below the header")
    return tuple(items)


def _item(path: Path, number: int, fields: Mapping[str, str], concepts: Sequence[Concept]) -> Item:
    def fail(column: str, problem: str) -> InputError:
        place = f"line {number}, field {list(fields).index(column) + 1} ({column})"
        return InputError(f"{path}, {place}: {problem}")

    if not fields["prompt"].strip():
        raise fail("prompt", "empty")
    seed = fields.get("seed", "").strip()
    if seed and not (re.fullmatch("-?[0-9]{1,19}", seed) and -(2**63) <= int(seed) < 2**63):
        raise fail("seed", f"{seed!r} is not a whole number of 64 bits (below 2^63)")
    labels = {}
    for concept in concepts:
        column = _LABEL + concept.name
        if column in fields:
            labels[concept.name] = fields[column].strip()
            if labels[concept.name] and labels[concept.name] not in concept.class_names:
                known = ", ".join(concept.class_names)
                raise fail(column, f"{labels[concept.name]!r} is no class of {concept.name} ({known})")
    if "\0" in fields["file"]:
        raise fail("file", f"{fields['file']!r} is no name of a file")
    file = path.parent / fields["file"]
    if not file.resolve().is_relative_to(path.parent.resolve()):
        raise fail("file", f"{fields['file']} lies outside the folder")
    try:
        data = file.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            image.convert("RGB")  # as it will be: a file that breaks off is seen when its pixels are read
    except FileNotFoundError as error:
        raise fail("file", f"{fields['file']} is not there") from error
    except _UNREADABLE as error:
        raise fail("file", f"{fields['file']} cannot be read as an image") from error
    return Item(
        file=fields["file"],
        sha256=hashlib.sha256(data).hexdigest(),
        prompt=fields["prompt"].strip(),
        seed=int(seed) if seed else None,
        labels=labels,
    )


def series_of_folder(
    folder: Path, items: Sequence[Item], concepts: Sequence[Concept], limit: int | None
) -> tuple[Series, dict[Request, Item]]:
    """One series whose rows are the prompts in the order of the manifest, and which item each request stands for.

    A missing seed is written as 0: it is shown and decides nothing.
    """
    rows = tuple(dict.fromkeys(item.prompt for item in items))[:limit]
    kept: dict[Request, Item] = {}
    counts = dict.fromkeys(rows, 0)
    for item in items:
        if item.prompt in counts:
            request = Request(row=item.prompt, prompt=item.prompt, index=counts[item.prompt], seed=item.seed or 0)
            counts[item.prompt] += 1
            kept[request] = item
    series = Series(name=folder.resolve().name, rows=rows, concepts=tuple(concepts), requests=tuple(kept))
    return series, kept


class FolderSource:
    """Images of a folder; labels that the manifest gives are taken, a judge is asked for the other concepts."""

    def __init__(self, folder: Path, items: Mapping[Request, Item], judge: Judge | None) -> None:
        self._folder, self._items, self._judge = folder, items, judge

    @property
    def judge_hash(self) -> str:
        """Content hash of the labels and of the judge."""
        labels = [dict(item.labels) for item in self._items.values()]
        return content_hash([labels, None if self._judge is None else self._judge.hash])

    @property
    def evaluations(self) -> int:
        """0: nothing is computed."""
        return 0

    def samples(self, requests: Sequence[Request], batch_size: int) -> Iterator[Sample]:
        """The images as they are in the folder."""
        for request in requests:
            yield Sample(request=request, image=read_image(self._folder / self._items[request].file))

    def judge(self, samples: Sequence[Sample], concepts: Sequence[Concept]) -> Sequence[Sequence[Verdict]]:
        """The given label, or what the judge perceives."""
        labelled = labelled_concepts(list(self._items.values()))
        unlabelled = [concept for concept in concepts if concept.name not in labelled]
        seen: Sequence[Sequence[Verdict]] = [()] * len(samples)
        if unlabelled:
            if self._judge is None:
                raise ConceptError(f"no label and no judge for {unlabelled[0].name}: give --judge")
            seen = self._judge.judge([sample.image for sample in samples], unlabelled)
        return [self._merged(one, concepts, verdicts) for one, verdicts in zip(samples, seen, strict=True)]

    def _merged(self, sample: Sample, concepts: Sequence[Concept], seen: Sequence[Verdict]) -> list[Verdict]:
        labels = self._items[sample.request].labels
        judged = {verdict.concept: verdict for verdict in seen}
        return [judged[one.name] if one.name in judged else _given(one, labels[one.name]) for one in concepts]


def labelled_concepts(items: Sequence[Item]) -> frozenset[str]:
    """The concepts that the manifest has a label column for."""
    return frozenset(items[0].labels)


def _given(concept: Concept, label: str) -> Verdict:
    reason = None if label else "no label was given"
    return Verdict(concept=concept.name, label=label or None, judge="labels", reason=reason)
