"""One small Ray cluster for all tests of this folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Ray with two cores; where another one runs, or Ray is missing, the tests are skipped."""
    pytest.importorskip("ray", reason="ray is not installed")
    from evenhand.engine.cluster import hush, ray_module

    if os.environ.get("RAY_ADDRESS"):
        pytest.skip("RAY_ADDRESS names a cluster, which is not for tests")
    # Workers import the toys, and compute with as many threads as they are told.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    ray = ray_module()
    hush()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()
