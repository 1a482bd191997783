"""The Ray cluster: the one that is named, or one on this machine for as long as it is needed."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent anywhere
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's own future default; without it Ray warns
}
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""A cluster of this machine listens on the loopback alone; Ray's own default outside Linux."""
_OBJECTS = 256 * 2**20
"""Bytes of shared memory for results that are on their way: a few units, which are PNGs."""


def ray_module() -> Any:
    """Ray itself. Raises: InputError when it is not installed."""
    for name, value in {**_QUIET, **({} if _named() else _LOOPBACK)}.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray: pip install 'evenhand[ray]'") from None
    return ray


def joined(ray: Any) -> bool:
    """Join the cluster of `RAY_ADDRESS` or `ray start`, else start one here; returns whether it is ours to leave.

    Raises: InputError when the cluster that is named does not answer.
    """
    if ray.is_initialized():
        return False
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    hush()
    if not _named():
        ray.init(address="local", include_dashboard=False, object_store_memory=_OBJECTS, **quiet)
        return True
    try:
        ray.init(address="auto", **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        address = os.environ.get("RAY_ADDRESS") or "the cluster of `ray start`"
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"--engine ray: {address} does not answer ({first}); `ray stop` ends what is left of it"
        ) from None
    return True


def hush() -> None:
    """Keep Ray's words on dead workers off standard output, where results go; nothing else in Ray turns them off."""
    from ray._private import worker

    worker.print_to_stdstream = lambda *args, **named: None


def _named() -> bool:
    """Whether there is a cluster to join, as Ray itself finds out."""
    return bool(os.environ.get("RAY_ADDRESS")) or (Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster").exists()
