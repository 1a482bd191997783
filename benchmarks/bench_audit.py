"""What an audit adds to sampling: judging and writing; both sides interleaved in one process.

    python benchmarks/bench_audit.py

(sampling + decoding + judging + writing) / (sampling + decoding), same requests, same batches; aim <= 1.08.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

from interleaved import interleaved, say

from evenhand.concepts.library import load_concept
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.memory import default_batch_size
from evenhand.host.sampler import sample
from evenhand.judges.load import load_judge
from evenhand.records import Request
from evenhand.skewville import MODEL_DIRECTORY
from evenhand.store import RunDirectory
from evenhand.verbs.observe import observe
from evenhand.verbs.series import Series
from evenhand.verbs.sources import ModelSource
from evenhand.watch import Silent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=2, help="batches per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    host = Host.wrap(load_pipeline(str(MODEL_DIRECTORY)))
    settings, judge = host.default_settings(), load_judge("clip", host.device)
    size = default_batch_size(host, settings)
    count = size * options.batches
    requests = tuple(Request(row="nurse", prompt="photo of nurse", index=i, seed=i) for i in range(count))
    concepts = tuple(load_concept(name) for name in ("gender", "skin", "unsafe"))
    series = Series(name="bench", rows=("nurse",), concepts=concepts, requests=requests)
    numbers = itertools.count()
    with tempfile.TemporaryDirectory() as folder:

        def only_sampling() -> None:
            for _ in sample(host, requests, settings, batch_size=size):
                pass

        def audit() -> None:
            number = next(numbers)
            facts = {"model": None, "batch_size": size, "dtype": None, "threads": None, "device": None}
            with RunDirectory.open(Path(folder) / str(number), config={"number": number}, facts=facts) as run:
                observe(ModelSource(host, settings, judge), run, series, settings, Silent())

        rates = interleaved([("sampling", only_sampling, count), ("audit", audit, count)], options.rounds)
    for name, rate in rates.items():
        say(f"{name:10} {rate:8.2f} images/s")
    ratio = rates["sampling"] / rates["audit"]
    say(f"(sampling + decoding + judging + writing) / (sampling + decoding): {ratio:.3f}  (aim <= 1.08)")


if __name__ == "__main__":
    main()
