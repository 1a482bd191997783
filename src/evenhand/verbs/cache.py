"""Where Evenhand keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_directory() -> Path:
    """`$EVENHAND_CACHE`, else the user's cache folder."""
    given = os.environ.get("EVENHAND_CACHE")
    return Path(given) if given else Path(platformdirs.user_cache_dir("evenhand"))
