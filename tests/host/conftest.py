"""Tiny random pipelines of each family, saved and loaded back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import diffusers
import pytest
import tiny_pipelines
import torch
import transformers

from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.records import Request

FAMILY_NAMES = ("sd1", "sd2", "sdxl")


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """No progress bars in the log of the tests, as `--quiet` has it; one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    diffusers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)
    diffusers.utils.logging.enable_progress_bar()
    transformers.utils.logging.enable_progress_bar()


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family name -> a directory that `save_pretrained` wrote."""
    root = tmp_path_factory.mktemp("models")

    def directory(family: str) -> Path:
        path = root / family
        if not path.exists():
            tiny_pipelines.build(family).save_pretrained(path)
        return path

    return directory


@pytest.fixture(params=FAMILY_NAMES)
def host(request: pytest.FixtureRequest, model_directory: Callable[[str], Path]) -> Iterator[Host]:
    """A host of each family in float32."""
    with Host.wrap(load_pipeline(model_directory(request.param), device="cpu", dtype="float32")) as host:
        yield host


@pytest.fixture
def sd1(model_directory: Callable[[str], Path]) -> Iterator[Host]:
    with Host.wrap(load_pipeline(model_directory("sd1"), device="cpu", dtype="float32")) as host:
        yield host


@pytest.fixture(scope="session")
def make_requests() -> Callable[..., list[Request]]:
    """n requests with prompts and seeds of their own."""

    def requests(n: int, negative: str | None = None) -> list[Request]:
        return [
            Request(row="r", prompt=f"photo of a cat {i}", index=i, seed=100 + 7 * i, negative_prompt=negative)
            for i in range(n)
        ]

    return requests
