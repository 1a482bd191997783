"""The ledger as one Parquet file: a row per image, what was perceived in it in columns of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import writing
from .ledger import Ledger

PARQUET = "ledger.parquet"
_ROWS = 50_000
"""Rows that are held in memory at a time."""


def export_parquet(run: Path, facts: Mapping[str, Any]) -> Path:
    """Write `ledger.parquet` into a run directory and return its path.

    Columns: key, arm, set, row, prompt, index, seed, assigned, guidance, width, height, file, sha256, valid, evidence
    (JSON), judge; and for each concept `label:NAME` (null where the judge abstained), `probabilities:NAME` in the order
    of its classes, `reason:NAME`. In the metadata of the file `evenhand` is `facts` as JSON. Rows are in the order of
    the series.

    Args:
        run: the directory.
        facts: its run.json.

    Raises: InputError when pyarrow is not installed; RunDirectoryError when there is no ledger; StorageError when the
        disk fails.
    Cost: about 10 s and 0.5 GB for each million images.
    """
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise InputError("--export parquet needs pyarrow: pip install 'evenhand[train]'") from None
    path = run / PARQUET
    temporary = path.with_name(f".{PARQUET}.{os.getpid()}.tmp")
    with Ledger(run) as ledger, writing(path):
        concepts = ledger.concepts()
        schema = _schema(arrow, concepts).with_metadata({"evenhand": json.dumps(dict(facts), ensure_ascii=False)})
        try:
            with parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
                for rows in _chunks(ledger):
                    writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def _schema(arrow: Any, concepts: Sequence[str]) -> Any:
    text, whole, number = arrow.string(), arrow.int64(), arrow.float64()
    fields = [
        *((name, text) for name in ("key", "arm", "set", "row", "prompt")),
        ("index", whole),
        ("seed", whole),
        ("assigned", text),
        ("guidance", number),
        ("width", whole),
        ("height", whole),
        ("file", text),
        ("sha256", text),
        ("valid", arrow.bool_()),
        ("evidence", text),
        ("judge", text),
    ]
    for name in concepts:
        fields += [(f"label:{name}", text), (f"probabilities:{name}", arrow.list_(number)), (f"reason:{name}", text)]
    return arrow.schema(fields)


def _chunks(ledger: Ledger) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for line, judge, verdicts in ledger.judged_lines():
        rows.append(_row(line, judge, verdicts))
        if len(rows) == _ROWS:
            yield rows
            rows = []
    yield rows


def _row(line: Mapping[str, Any], judge: str | None, verdicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    row = {**line, "judge": judge}
    if "evidence" in row:
        row["evidence"] = json.dumps(row["evidence"], ensure_ascii=False, sort_keys=True)
    for one in verdicts:
        name = one["concept"]
        row |= {
            f"label:{name}": one["label"],
            f"probabilities:{name}": list(one["probabilities"]) or None,
            f"reason:{name}": one["reason"],
        }
    return row
