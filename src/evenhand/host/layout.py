"""The order in which convolution weights lie in memory while images are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def channels_last(*modules: torch.nn.Module) -> Iterator[None]:
    """Lay the convolution weights of the modules out with channels last, and back at the end.

    Convolution libraries compute in that order; weights in the other one are reordered at every call. A module
    without convolutions, or one that the user has laid out so already, is left alone. The numbers are the same
    before, within and after.
    """
    changed = [module for module in modules if _reorders(module)]
    for module in changed:
        _lay_out(module, torch.channels_last)
    try:
        yield
    finally:
        for module in changed:
            _lay_out(module, torch.contiguous_format)


def _lay_out(module: torch.nn.Module, order: torch.memory_format) -> None:
    move: Any = torch.nn.Module.to  # its annotations leave this form out
    move(module, memory_format=order)


def _reorders(module: torch.nn.Module) -> bool:
    """True where a convolution of more than one pixel lies with channels first."""
    return any(
        weight.ndim == 4 and not weight.is_contiguous(memory_format=torch.channels_last)
        for weight in module.parameters()
    )
