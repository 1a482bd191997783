"""generate: numbered images, their list, and the seeds that plain diffusers would use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from toys import ToyHost, level

from evenhand.errors import RunDirectoryError
from evenhand.records import Request
from evenhand.verbs.config import GenerateConfig, ImageOptions
from evenhand.verbs.generate import generate

Install = Callable[..., ToyHost]


def config(out: Path, **changes: Any) -> GenerateConfig:
    return GenerateConfig(
        **{"source": "a/toy", "prompt": "a photo of a nurse", "images": 3, "seed": 40, "out": out, **changes}
    )


def test_images_are_numbered_and_listed(tmp_path: Path, toy: Install) -> None:
    toy()
    done = generate(config(tmp_path / "out", image=ImageOptions(negative_prompt="a hat")))
    assert sorted(path.name for path in done.out.iterdir()) == ["000.png", "001.png", "002.png", "samples.json"]
    listing = json.loads((done.out / "samples.json").read_text())
    assert listing["schema"] == "evenhand.samples/1"
    assert listing["config"]["prompt"] == "a photo of a nurse"
    assert {"model", "settings", "dtype", "batch_size", "threads", "versions"} <= set(listing)
    assert [entry["seed"] for entry in listing["samples"]] == [40, 41, 42]
    assert set(listing["samples"][0]) == {
        *("index", "file", "prompt", "negative_prompt", "seed", "valid", "sha256", "latents"),
    }
    assert listing["samples"][2]["negative_prompt"] == "a hat"
    request = Request(row="", prompt="", index=1, seed=41)
    assert np.asarray(Image.open(done.out / "001.png"))[0, 0, 0] == level(request)


def test_latents_are_stored_beside_the_images(tmp_path: Path, toy: Install) -> None:
    toy()
    done = generate(config(tmp_path / "out", latents=True))
    assert done.listing["samples"][2]["latents"] == "002.safetensors"
    assert load_file(done.out / "002.safetensors")["latents"].shape == (4, 2, 2)


def test_what_is_there_is_kept_and_what_is_damaged_is_made_again(tmp_path: Path, toy: Install) -> None:
    toy()
    first = generate(config(tmp_path / "out"))
    (first.out / "001.png").write_bytes(b"damaged")
    before = (first.out / "002.png").stat().st_mtime_ns
    host = toy()
    second = generate(config(tmp_path / "out"))
    assert host.batches == [1]
    assert host.evaluations == 3 * 2 * 2  # padded to the shape of the first call: 3 rows, 2 steps, 2 branches
    assert second.listing["samples"] == first.listing["samples"]
    assert (first.out / "002.png").stat().st_mtime_ns == before


def test_a_stopped_call_can_be_continued(tmp_path: Path, toy: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(batch_size=2)
    from evenhand.verbs import generate as module

    write, calls = module.write_png, []

    def stopping(path: Path, image: np.ndarray) -> str:
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return write(path, image)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_png", stopping)
        with pytest.raises(KeyboardInterrupt):
            generate(config(tmp_path / "out", images=5))
    done = generate(config(tmp_path / "out", images=5))
    assert [entry["index"] for entry in done.listing["samples"]] == list(range(5))


def test_images_that_are_no_numbers_have_no_file(tmp_path: Path, toy: Install) -> None:
    toy(broken="a photo of a nurse")
    done = generate(config(tmp_path / "out", images=1))
    assert (done.listing["samples"][0]["file"], done.listing["samples"][0]["valid"]) == (None, False)


def test_another_configuration_or_other_files_are_refused(tmp_path: Path, toy: Install) -> None:
    toy()
    generate(config(tmp_path / "out"))
    with pytest.raises(RunDirectoryError, match=r"differ in seed\)"):
        generate(config(tmp_path / "out", seed=41))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("important")
    with pytest.raises(RunDirectoryError, match="not empty"):
        generate(config(tmp_path / "mine"))
