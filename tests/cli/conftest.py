"""A toy model in the place of a loaded one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from toys import ToyHost, install_toy


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ToyHost]:
    """Installs a toy host as the model that every name opens."""

    def install(**options: Any) -> ToyHost:
        return install_toy(monkeypatch, **options)

    return install
