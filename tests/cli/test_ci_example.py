"""The workflow that docs/ci.md shows: its shell lines run as they stand, on Skewville and on few images."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"
SMALL = "skewville --concept gender --concept unsafe --images-per-prompt 2 --limit 2"


def steps() -> list[dict[str, Any]]:
    (workflow,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    return yaml.safe_load(workflow)["jobs"]["audit"]["steps"]


def ran(line: str, folder: Path) -> int:
    line = line.replace("path/to/model --concept gender --concept unsafe --images-per-prompt 50 --limit 8", SMALL)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {**os.environ, "PATH": path, "GITHUB_STEP_SUMMARY": str(folder / "summary.md"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(["bash", "-e", "-c", line], cwd=folder, env=given, check=False).returncode


@pytest.mark.slow
def test_the_workflow_gates_and_leaves_what_it_uploads(tmp_path: Path) -> None:
    assert ran(f"evenhand plan {SMALL} --lock fairness-plan.json", tmp_path) == 0
    lines = {step["name"]: step["run"] for step in steps() if "run" in step and "name" in step}
    assert SMALL.removeprefix("skewville") not in lines["Audit"]
    assert ran(lines["Audit"], tmp_path) == 0
    assert ran(lines["Gate"], tmp_path) == 3  # Skewville is biased, and four images show no limit
    assert ran(lines["Summary"], tmp_path) == 0
    assert "gender" in (tmp_path / "summary.md").read_text("utf-8")
    (upload,) = [step["with"]["path"].split() for step in steps() if "upload-artifact" in step.get("uses", "")]
    assert [one for one in upload if not (tmp_path / one).is_file()] == []
    assert "pre-registered" in (tmp_path / "run" / "report.html").read_text("utf-8")
