"""Several nodes and several GPUs: every worker has one device to itself, and the run is that of one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import ledgers
import pytest
from engine_toys import here


@pytest.mark.slow
def test_two_nodes_with_two_gpus_and_one_have_a_worker_for_each_device(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    folder = tmp_path / "toys"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("nodes.py")), str(folder), str(tmp_path / "ray")],
        env={**{k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    workers = [(node, devices) for node, devices in told["workers"]]
    # two on the node with two GPUs, which see one each and not the same, and one on the other
    assert len(workers) == len(set(workers)) == 3
    by_node = Counter(node for node, _ in workers)
    assert sorted(by_node.values()) == [1, 2]
    assert sorted(devices for node, devices in workers if by_node[node] == 2) == ["0", "1"]
    assert [devices for node, devices in workers if by_node[node] == 1] == ["0"]
    # and together they made every image once, as one process does
    assert told["here"] == 0
    assert told["made"] == {str(seed): 1 for seed in range(40)}
    alone = here(tmp_path / "local")
    assert told["labels"] == {str(request.seed): verdict.label for request, (verdict,) in alone.items()}
    assert ledgers.lines(tmp_path / "ray") == ledgers.lines(tmp_path / "local")
