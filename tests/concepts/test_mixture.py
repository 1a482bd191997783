"""Between classes: weights that sum to 1, or one line that says what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.concepts.mixture import checked_class, mixture
from evenhand.errors import InputError


def test_a_class_alone_has_all_of_the_weight() -> None:
    assert mixture("light") == {"light": 1.0}


@given(weight=st.floats(-3, 3, allow_nan=False))
def test_weights_are_read_as_written_also_beyond_a_class(weight: float) -> None:
    found = mixture(f"light:{weight!r}+dark:{1 - weight!r}")
    assert found == {"light": weight, "dark": 1 - weight}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("light:0.7+dark:0.2", "sum to 0.9, expected 1"),
        ("light:much+dark:0.2", "expected classes with weights"),
        ("light:0.5+light:0.5", "each once"),
        ("light:0.5+:0.5", "expected classes with weights"),
        ("light:nan+dark:1", "expected classes with weights"),
    ],
)
def test_what_is_no_mixture_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        mixture(text)


def test_classes_that_there_are_not_are_named() -> None:
    assert checked_class("light:0.5+dark:0.5", ("light", "dark"), "m") == "light:0.5+dark:0.5"
    with pytest.raises(InputError, match=r"m: class=blue, expected one of light, dark, or a mixture such as light:0.7"):
        checked_class("light:0.5+blue:0.5", ("light", "dark"), "m")
