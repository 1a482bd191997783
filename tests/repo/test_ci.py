"""What continuous integration does is what the README says."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_line_that_installs_the_browser_is_the_one_that_runs() -> None:
    (line,) = [one for one in (ROOT / "README.md").read_text().splitlines() if "install -y chromium" in one]
    assert f"'{line.removeprefix('$ ')}'" in (ROOT / ".ci" / "run").read_text()


def test_it_runs_the_tests_as_a_developer_does() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    assert "$ make test" in (ROOT / "README.md").read_text()
