"""What other libraries say that is no news for a user of this one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import diffusers
import transformers


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Hide deprecation warnings inside the block: old model files, and diffusers' own use of numpy and torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def without_loading_bars() -> Iterator[None]:
    """Hide the bars of diffusers and transformers inside the block: a local model is there in a moment.

    Not for the Hub, where a bar shows the download.
    """
    libraries = [library.utils.logging for library in (diffusers, transformers)]
    shown = [library for library in libraries if library.is_progress_bar_enabled()]
    for library in shown:
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library in shown:
            library.enable_progress_bar()


@contextmanager
def without_remarks() -> Iterator[None]:
    """Hide what diffusers remarks inside the block below an error: a LoRA need not speak of every part of a model."""
    logging = diffusers.utils.logging
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
