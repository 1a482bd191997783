"""Several processes train as one does with their batches together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "two_processes.py"
TESTS = str(Path(__file__).parents[1])


def curve(folder: Path, loss: str, processes: int) -> list[float]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command = launch if processes > 1 else [sys.executable]
    folder.mkdir()
    done = subprocess.run(
        [*command, str(SCRIPT), str(folder), loss],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": TESTS},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "curve.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["population", "sigmoid", "bco_pair"])
def test_two_processes_give_the_loss_curve_of_one(tmp_path: Path, loss: str) -> None:
    one, two = (curve(tmp_path / str(count), loss, count) for count in (1, 2))
    assert one == pytest.approx(two, abs=1e-4)
    assert one[-1] < one[0]
