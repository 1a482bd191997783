"""The number type in which Skewville's models are trained."""

from __future__ import annotations

import torch

from evenhand.host.dtype import cpu_multiplies_bfloat16


def mixed_precision() -> torch.autocast:
    """bfloat16 where the processor multiplies it in hardware; emulated it is some twenty times slower than float32."""
    return torch.autocast("cpu", torch.bfloat16, enabled=cpu_multiplies_bfloat16())
