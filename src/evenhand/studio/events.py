"""How events of the page are bound: they are no public interface, and the page shows progress in words of its own."""

from __future__ import annotations

from typing import Any

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
