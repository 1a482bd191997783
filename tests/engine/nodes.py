"""Runs toy units on a Ray cluster of two nodes, each with a scheduler and workers of its own; a process of its own.

    python nodes.py FOLDER RUN

The first node is told that it has two GPUs, the second that it has one: Ray hands out numbers and looks at no hardware.
Printed, as JSON: node and visible devices of every worker, the verdicts' labels, and how often each image was made.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

from engine_toys import CONFIG, SERIES, Toys
from toys import ToySource, toy_facts

from evenhand.engine.cluster import ray_module
from evenhand.engine.ray_actors import RayActors, Share
from evenhand.records import Settings
from evenhand.store import RunDirectory
from evenhand.verbs.observe import observe
from evenhand.watch import Silent

GPUS = (2, 1)


def main(folder: Path, path: Path) -> None:
    """Start the nodes, and run."""
    ray = ray_module()
    from ray.cluster_utils import Cluster

    quiet = {"object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster()
    for gpus in GPUS:
        cluster.add_node(num_cpus=1, num_gpus=gpus, **quiet)
    os.environ["RAY_ADDRESS"] = cluster.address
    toys = Toys(folder)
    toys.plan(awaits={str(seed): 3 for seed in range(3)})
    source = ToySource()
    try:
        with (
            RunDirectory.open(path, config=CONFIG, facts=toy_facts()) as run,
            RayActors(toys, Share(cpus=0, gpus=1), Silent()) as engine,
        ):
            verdicts = observe(source, run, SERIES, Settings(), Silent(), engine=engine)
    finally:
        ray.shutdown()
        cluster.shutdown()
    told = {
        "workers": toys.workers(),
        "labels": {str(request.seed): verdict.label for request, (verdict,) in verdicts.items()},
        "made": dict(Counter(map(str, toys.made()))),
        "here": len(source.made),
    }
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
