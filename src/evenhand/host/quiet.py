"""Deprecations inside other libraries are no news for a user of this one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Hide deprecation warnings inside the block: old model files, and diffusers' own use of numpy and torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
