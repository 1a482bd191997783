"""Subjects: prompts for the same people share one, whatever stands around them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenhand.concepts.subject import subject_of


@pytest.mark.parametrize(
    ("prompt", "subject"),
    [
        ("a photo of a doctor", "doctor"),
        ("Portrait of a Doctor, smiling in a park", "doctor"),
        ("DOCTORS", "doctor"),
        ("the doctor's face", "doctor"),
        ("two firemen", "fireman"),
        ("secretaries", "secretary"),
        ("a boss", "boss"),
        ("a nurse and a doctor", "doctor nurse"),
        ("a doctor and a nurse", "doctor nurse"),
        ("a photo of a person in a battle", "battle"),
        ("a photo of a person", "person"),
        ("a red car", "car red"),
        ("ａ ｄｏｃｔｏｒ", "doctor"),
        ("", ""),
        ("...", ""),
    ],
)
def test_known_subjects(prompt: str, subject: str) -> None:
    assert subject_of(prompt) == subject


@given(st.text(max_size=200))
def test_a_subject_is_a_normal_form(prompt: str) -> None:
    found = subject_of(prompt)
    assert len(found.split()) <= 8
    assert subject_of(prompt.upper().lower()) == subject_of(prompt.upper().lower().upper().lower())
    assert found.split() == sorted(found.split())
