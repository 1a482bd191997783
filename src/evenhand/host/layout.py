"""The order in which convolution weights lie in memory while images are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from evenhand.host.dtype import cpu_has_amx


@contextmanager
def channels_last(*modules: torch.nn.Module) -> Iterator[None]:
    """Lay the convolution weights of the modules out with channels last, and back at the end.

    Convolution libraries compute in that order; weights in the other one are reordered at every call. A module
    without convolutions, or one that the user has laid out so already, is left alone. So is one in bfloat16 on a CPU
    without AMX, whose kernels for the usual order are the faster ones (by a tenth on Skewville). The numbers are the
    same before, within and after.
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
    """True where a convolution of more than one pixel lies with channels first, and would gain by the other order."""
    first = next(module.parameters(), None)
    if first is None or (first.device.type == "cpu" and first.dtype == torch.bfloat16 and not cpu_has_amx()):
        return False
    return any(
        weight.ndim == 4 and not weight.is_contiguous(memory_format=torch.channels_last)
        for weight in module.parameters()
    )
