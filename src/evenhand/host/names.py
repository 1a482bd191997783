"""What the name of a model or of a LoRA may be, told without loading anything."""

from __future__ import annotations

import re
from pathlib import Path

from evenhand.errors import ModelError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_model_name(name: str) -> None:
    """Raises ModelError for what is neither here nor could be on the Hub; whether it is there, only the Hub knows."""
    if not Path(name).expanduser().exists() and not _HUB_ID.fullmatch(name):
        raise ModelError(
            f"model {name!r} is no file or directory here, and no Hub id either (owner/name); check the spelling"
        )


def check_lora_name(name: str) -> None:
    """Raises ModelError for a LoRA that is neither here nor could be on the Hub."""
    if not Path(name).expanduser().exists() and not _HUB_ID.fullmatch(name):
        raise ModelError(f"LoRA {name!r} is no file or directory here, and no Hub id either (owner/name)")
