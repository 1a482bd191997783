"""Populations on disk: what is kept is not made again, and other libraries can read it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from test_populations import Studio, plan

from evenhand.errors import InputError
from evenhand.records import Request, Sample
from evenhand.training.population_store import PopulationStore, pairs, unpaired
from evenhand.training.populations import build


def test_what_was_made_is_not_made_again(tmp_path: Path) -> None:
    alone = Studio(wrong=2)
    whole = build(plan(), alone.make, alone.read)
    studio, made = Studio(wrong=2), 0

    def dying(requests: Sequence[Request]) -> list[Sample]:
        nonlocal made
        made += len(requests)
        if made > 20:
            raise KeyboardInterrupt
        return studio.make(requests)

    with pytest.raises(KeyboardInterrupt):
        build(plan(), dying, studio.read, store=PopulationStore(tmp_path, plan()), chunk=5)
    assert len(studio.requests) == 20
    found = build(plan(), studio.make, studio.read, store=PopulationStore(tmp_path, plan()), chunk=5)
    assert len(studio.requests) == whole.made == 48 + 2
    assert (found.rejected, found.made) == (whole.rejected, whole.made)
    for one, other in zip(found.images, whole.images, strict=True):
        assert (one.slot, one.label, one.seed) == (other.slot, other.label, other.seed)
        assert torch.equal(one.latents, other.latents)


def test_another_plan_is_refused(tmp_path: Path) -> None:
    PopulationStore(tmp_path, plan())
    PopulationStore(tmp_path, plan())
    with pytest.raises(InputError, match="populations of another plan"):
        PopulationStore(tmp_path, plan(side=2))


def test_the_export_has_a_row_per_image_and_says_that_it_holds_pictures(tmp_path: Path) -> None:
    store, studio = PopulationStore(tmp_path / "work", plan()), Studio(wrong=1)
    found = build(plan(), studio.make, studio.read, store=store)
    store.export(tmp_path / "populations.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "populations.parquet")
    assert table.num_rows == len(found.images)
    assert b'"_type": "Image"' in table.schema.metadata[b"huggingface"]
    rows = table.to_pylist()
    assert [row["seed"] for row in rows] == [one.seed for one in found.images]
    assert [row["perceived"] for row in rows] == [one.label for one in found.images]
    assert np.asarray(Image.open(io.BytesIO(rows[0]["image"]["bytes"]))).shape == (2, 2, 3)
    assert torch.equal(torch.tensor(rows[0]["latents"]).view(*rows[0]["shape"]), found.images[0].latents)


def test_the_views_are_those_of_preference_trainers(tmp_path: Path) -> None:
    store, studio = PopulationStore(tmp_path / "work", plan()), Studio()
    build(plan(), studio.make, studio.read, store=store)
    store.export(tmp_path / "populations.parquet")
    paired, single = list(pairs(tmp_path / "populations.parquet")), list(unpaired(tmp_path / "populations.parquet"))
    assert len(paired) == 24  # 2 rows x 4 populations x 3 images a side
    assert len(single) == 48
    assert sum(one["label"] for one in single) == 24
    assert {*paired[0]} == {"prompt", "chosen", "rejected"}
    assert paired[0]["prompt"] == "a photo of a a"
