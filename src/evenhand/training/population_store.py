"""Images of populations on disk: one row per image in Parquet parts, so that a build that was killed goes on.

`datasets.load_dataset("parquet", data_files="FOLDER/*.parquet")` reads it, pictures included.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from evenhand.errors import InputError, ModelError
from evenhand.files import write_bytes
from evenhand.training.populations import Plan, Slot, Tried

_MARK = "plan.json"


class PopulationStore:
    """A folder of Parquet parts.

    Args:
        folder: made if needed.
        plan: what is built; a folder that holds another plan is refused.

    Raises:
        InputError: the folder holds the images of another plan.
        ModelError: pyarrow is missing.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._folder = folder
        _arrow()
        mark = json.dumps(plan.mark(), sort_keys=True, indent=1) + "\n"
        file = folder / _MARK
        if file.is_file() and file.read_text("utf-8") != mark:
            raise InputError(f"{folder} holds the populations of another plan; name another folder, or remove it")
        write_bytes(file, mark.encode())

    @property
    def parts(self) -> list[Path]:
        """The files, in the order in which they were written."""
        return sorted(self._folder.glob("part-*.parquet"))

    def tried(self) -> list[Tried]:
        """Every image that was made, also the rejected ones, which have no latents."""
        return [_tried(row) for part in self.parts for row in _rows(part)]

    def add(self, tried: Sequence[Tried]) -> None:
        """Write one more part, whole or not at all."""
        if tried:
            write_bytes(self._folder / f"part-{len(self.parts):05d}.parquet", _part(tried))

    def export(self, path: Path) -> None:
        """All images that passed as one file, in the order of the plan."""
        kept = [row for part in self.parts for row in _rows(part) if not row["reason"]]
        kept.sort(key=lambda row: (row["population"], not row["winner"], row["index"]))
        write_bytes(path, _parquet(kept))


def pairs(path: Path) -> Iterator[dict[str, Any]]:
    """The view that preference trainers read: {"prompt", "chosen", "rejected"}, PNG bytes of either side.

    The k-th winner of a population meets its k-th loser.
    """
    sides: dict[tuple[int, bool], list[dict[str, Any]]] = {}
    for row in _rows(path):
        sides.setdefault((row["population"], row["winner"]), []).append(row)
    for population in dict.fromkeys(number for number, _ in sides):
        for chosen, rejected in zip(sides[population, True], sides[population, False], strict=True):
            yield {
                "prompt": chosen["caption"],
                "chosen": chosen["image"]["bytes"],
                "rejected": rejected["image"]["bytes"],
            }


def unpaired(path: Path) -> Iterator[dict[str, Any]]:
    """The view of losses that need no pairs: {"prompt", "completion", "label"}, True for winners."""
    for row in _rows(path):
        yield {"prompt": row["caption"], "completion": row["image"]["bytes"], "label": row["winner"]}


def _part(tried: Sequence[Tried]) -> bytes:
    return _parquet([_row(one) for one in tried])


def _row(one: Tried) -> dict[str, Any]:
    slot = one.slot
    kept = None if one.latents is None else one.latents.float()
    return {
        "row": slot.row,
        "caption": slot.caption,
        "prompt": slot.prompt,
        "population": slot.population,
        "winner": slot.winner,
        "asked_for": slot.shown,
        "index": slot.index,
        "attempt": one.attempt,
        "seed": one.seed,
        "perceived": one.label,
        "reason": one.reason,
        "latents": None if kept is None else kept.flatten().tolist(),
        "shape": None if kept is None else list(kept.shape),
        "image": {"bytes": None if one.image is None else _png(one.image), "path": None},
    }


def _tried(row: dict[str, Any]) -> Tried:
    slot = Slot(
        row=row["row"],
        caption=row["caption"],
        prompt=row["prompt"],
        population=row["population"],
        winner=row["winner"],
        shown=row["asked_for"],
        index=row["index"],
    )
    latents = None if row["latents"] is None else torch.tensor(row["latents"]).view(*row["shape"])
    return Tried(
        slot=slot,
        attempt=row["attempt"],
        seed=row["seed"],
        label=row["perceived"],
        reason=row["reason"],
        latents=latents,
    )


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def _rows(path: Path) -> list[dict[str, Any]]:
    _, parquet = _arrow()
    return parquet.read_table(path).to_pylist()


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    arrow, parquet = _arrow()
    types = {
        **dict.fromkeys(("row", "caption", "prompt", "asked_for", "perceived", "reason"), arrow.string()),
        **dict.fromkeys(("population", "index", "attempt", "seed"), arrow.int64()),
        "winner": arrow.bool_(),
        "latents": arrow.list_(arrow.float32()),
        "shape": arrow.list_(arrow.int64()),
        "image": arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())]),
    }
    # the library `datasets` reads from here that the column holds pictures
    facts = {"info": {"features": {"image": {"_type": "Image"}}}}
    schema = arrow.schema(list(types.items()), metadata={"huggingface": json.dumps(facts)})
    buffer = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        raise ModelError("populations are kept as Parquet; install pyarrow (pip install 'evenhand[train]')") from None
    return pyarrow, parquet
