"""What is said on standard error beside errors."""

from __future__ import annotations

import warnings

import pytest

from evenhand.cli.exits import warn_in_lines
from evenhand.errors import EvenhandWarning


def test_our_own_warnings_are_lines_and_those_of_others_stay(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *rest: others.append(str(message)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warn_in_lines()
        warnings.warn(EvenhandWarning("less than\nwas asked for"), stacklevel=1)
        warnings.warn("somebody else's", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == "evenhand: less than was asked for\n"
    assert others == ["somebody else's"]
