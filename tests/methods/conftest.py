"""Tiny random pipelines, in memory, and a quiet log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import diffusers
import pytest
import tiny_pipelines
import torch
import transformers
from diffusers import DiffusionPipeline

from evenhand.host.host import Host


@pytest.fixture(scope="session", autouse=True)
def quiet() -> Iterator[None]:
    """No progress bars, no deprecation notes of the reference pipeline; one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)


@cache
def built(family: str) -> DiffusionPipeline:
    return tiny_pipelines.ready(family)


@pytest.fixture(scope="session")
def pipeline() -> Callable[[str], DiffusionPipeline]:
    """Family name -> its tiny pipeline, built once."""
    return built


@pytest.fixture
def host() -> Iterator[Callable[[str], Host]]:
    """Family name -> a host of its tiny pipeline, closed at the end of the test."""
    hosts: list[Host] = []

    def make(family: str) -> Host:
        hosts.append(Host.wrap(built(family)))
        return hosts[-1]

    yield make
    for one in hosts:
        one.close()
