"""What the one process that writes can take: units committed a second, and units that Ray's workers hand over.

    python benchmarks/scale.py

Pictures are bytes that do not compress, of the size of a 512 x 512 PNG; workers make nothing and return at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from interleaved import say

from evenhand.concepts.concept import Concept
from evenhand.engine.ray_actors import RayActors, Share
from evenhand.records import Request, Verdict
from evenhand.store import Encoded, Finished, RunDirectory, WorkUnit, units_of
from evenhand.watch import Silent

FACTS = {"model": {"hash": "m"}, "batch_size": 32, "dtype": "float32", "threads": 1, "device": "cpu"}


@dataclasses.dataclass(frozen=True)
class Idle:
    """The recipe of a worker that returns ready-made pictures."""

    size: int

    def __call__(self) -> Idle:
        return self

    def finish(self, unit: WorkUnit, concepts: Sequence[Concept]) -> Finished:
        """Pictures of random bytes."""
        return finished(unit, self.size)


def finished(unit: WorkUnit, size: int) -> Finished:
    """A unit with a picture of so many bytes for each request."""
    some = [os.urandom(size) for _ in unit.keys]
    images = tuple(Encoded(data=one, sha256=hashlib.sha256(one).hexdigest()) for one in some)
    seen = (Verdict(concept="gender", label="female", probabilities=(0.97, 0.03), judge="clip"),)
    return Finished(unit=unit, images=images, verdicts=(seen,) * len(images), judge="j")


def units(count: int, batch: int) -> list[WorkUnit]:
    """Units of so many requests each."""
    requests = [Request(row="nurse", prompt="a photo of a nurse", index=k, seed=k) for k in range(count * batch)]
    missing = [(k, f"{k:064d}", request) for k, request in enumerate(requests)]
    return list(units_of(missing, prompt_set="bench", arm=None, batch_size=batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=int, default=430_000)
    parser.add_argument("--units", type=int, default=40)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with RunDirectory.open(Path(folder) / "run", config={}, facts=FACTS) as run:
            made = [finished(unit, options.bytes) for unit in units(options.units, 32)]
            started = time.monotonic()
            for one in made:
                run.commit_unit(one)
            rate = options.units / (time.monotonic() - started)
        say(f"commit: {rate:.1f} units/s of 32 images of {options.bytes:,} bytes = {32 * rate:.0f} images/s")
        for size, batch, count in ((100, 1, 2_000), (options.bytes, 32, options.units)):
            with RayActors(Idle(size), Share(), Silent()) as engine:
                list(engine.run(units(4, batch), []))  # starts the workers
                started, busy = time.monotonic(), time.process_time()
                handed = sum(1 for _ in engine.run(units(count, batch), []))
                rate, own = handed / (time.monotonic() - started), (time.process_time() - busy) / handed
            say(
                f"Ray: {rate:.1f} units/s of {batch} images of {size:,} bytes from the workers of this machine, "
                f"nothing stored; {1000 * own:.1f} ms of this process each"
            )


if __name__ == "__main__":
    main()
