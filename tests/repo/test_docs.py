"""What the documentation lists is what the package has."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

import evenhand
from evenhand.methods.table import METHODS

DOCS = Path(__file__).parents[2] / "docs"
CONFIGS = [name for name in evenhand.__all__ if name.endswith(("Config", "Options"))] + ["Question", "Effort"]


def cells(page: str, first: str) -> set[str]:
    """The names in code of the second cell of a table's row."""
    (row,) = re.findall(rf"^\| `{re.escape(first)}` \| (.*) \|$", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    return set(re.findall(r"`([a-z_]+)`", row))


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_parameter_of_a_method_stands_in_its_table(method: str) -> None:
    parameters = {one.name for one in METHODS[method].parameters} - {"strength"}
    assert cells("commands.md", method) == parameters


def test_every_public_name_stands_on_the_page_about_python() -> None:
    named = set(re.findall(r"`(\w+)", (DOCS / "python.md").read_text("utf-8")))
    assert set(evenhand.__all__) <= named


@pytest.mark.parametrize("name", CONFIGS)
def test_every_field_of_a_configuration_stands_there(name: str) -> None:
    assert cells("python.md", name) == {one.name for one in dataclasses.fields(getattr(evenhand, name))}


def test_every_page_is_in_the_contents_and_on_the_readme() -> None:
    pages = {str(one.relative_to(DOCS)) for one in DOCS.rglob("*.md")} - {"index.md"}
    contents = set(re.findall(r": (\S+\.md)$", (DOCS.parent / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    assert pages <= contents
    linked = set(re.findall(r"\(docs/([\w/-]+\.md)", (DOCS.parent / "README.md").read_text("utf-8")))
    assert {one for one in pages if not one.startswith("design/")} <= linked
