"""The rules of the house, each with the command that fails."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "evenhand"
FILES = sorted(SOURCE.rglob("*.py"))
MAY_IMPORT_DIFFUSERS = ("host", "skewville", "testing")
LONGEST_FILE, LONGEST_FUNCTION, MOST_ARGUMENTS = 400, 60, 8

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, wherever in the file it does so."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


@every_file
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@every_file
def test_functions_are_short(path: Path) -> None:
    """Counted without the signature: the options of a command are its parameters."""
    long = {node.name: node.end_lineno - node.body[0].lineno + 1 for node in functions(path) if node.end_lineno}
    assert {name: lines for name, lines in long.items() if lines > LONGEST_FUNCTION} == {}


@every_file
def test_functions_are_annotated(path: Path) -> None:
    bare = [
        node.name
        for node in functions(path)
        if node.returns is None
        or any(
            argument.annotation is None and argument.arg not in ("self", "cls")
            for argument in (*node.args.args, *node.args.kwonlyargs)
        )
    ]
    assert bare == []


@every_file
def test_modules_and_public_classes_say_what_they_are(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree) or not tree.body
    silent = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


@every_file
def test_diffusers_is_imported_in_few_places(path: Path) -> None:
    if "diffusers" in imported(path):
        assert path.relative_to(SOURCE).parts[0] in MAY_IMPORT_DIFFUSERS


@every_file
def test_nothing_is_pickled(path: Path) -> None:
    assert not imported(path) & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert "torch.load(" not in path.read_text(encoding="utf-8")


@every_file
def test_no_guessing_and_no_ladders(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\bhasattr\(", text)
    assert "locals()" not in text
    assert not re.search(r"\beval\(|\bexec\(", re.sub(r"\.eval\(\)", "", text))


@every_file
def test_no_module_is_for_everything(path: Path) -> None:
    assert not re.search(r"util|helper|misc|common", path.stem)


@every_file
def test_the_project_speaks_of_itself_alone(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/(?:home|root|mnt|work)/|protocol\.md|design\.md|TODO|FIXME|XXX", text)


def test_folders_are_flat() -> None:
    assert max(len(path.relative_to(SOURCE).parts) for path in FILES) <= 3


def _shipped() -> list[Path]:
    """Every file of the package; what tools leave in hidden folders is not part of it."""
    files = (path for path in SOURCE.rglob("*") if path.is_file())
    return [path for path in files if not any(part.startswith(".") for part in path.relative_to(SOURCE).parts)]


def test_every_data_file_ships() -> None:
    """What lies in the package must be matched by package-data, or an installed package lacks it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = settings["tool"]["setuptools"]["package-data"]["evenhand"]
    suffixes = {pattern.rpartition("*")[2] for pattern in patterns} | {".py", ".typed", ".pyc"}
    strangers = [path for path in _shipped() if path.suffix not in suffixes]
    assert strangers == []


def test_the_constraints_pin_every_dependency() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["dev"],
        *project["optional-dependencies"]["docs"],
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in lines}
    names = {re.split(r"[<>=\[ ]", one)[0].lower().replace("_", "-") for one in wanted}
    assert names <= pinned
    assert "torch==2.13.0" in lines
    assert all("==" in line and "+" not in line for line in lines)
