"""The server under load, on loopback, with Skewville; its own process, as users run it.

    python benchmarks/load_server.py                     throughput: clients, one at a time, and the offline sampler
    python benchmarks/load_server.py --judged            the same with gate and watch
    python benchmarks/load_server.py --soak 600          mixed clients, kill -9 and restart in the middle

Throughput: images a second of --clients clients that each wait for their image before they ask again, of the offline
sampler at the batch size --batch-size, and of the same server asked by one client after another. The sides take turns,
one at a time, and ratios are of medians; aims: >= 0.9 of the sampler, >= 2.5 of one at a time.

Soak: clients that ask properly, wrongly, slowly, and hang up. Half way the server is killed and started again. It holds
that every request got an answer or an error, that no draw is left held once all is quiet, that the log and the urns
agree (a class of a subject was handed out as often as it is missing from whole urns), and that the memory of the last
third is at most a tenth above that of the second. A kill can fall between the ledger and the log: one request's images.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import torch
from interleaved import say

from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.records import Request, Settings
from evenhand.skewville import MODEL_DIRECTORY

PATH = "/v1/images/generations"
PROMPTS = ("a photo of a nurse", "a photo of a lawyer", "a photo of a baker", "a photo of a person in a market")
PLAIN = 'name = "load"\nversion = 1\n[log]\ndays = 0\n'
JUDGED = PLAIN + '[gate]\naction = "flag"\n[watch]\nconcepts = ["gender"]\n'
FAIR = (
    'name = "soak"\nversion = 1\n[[fairness]]\nconcept = "gender"\n[limits]\nqueue = 32\ndeadline_seconds = 60\n'
    "[log]\nprompts = true\n"
)
MOST_IMAGES = 2
"""Of one request of the soak."""


class Server:
    """A server in a process of its own, which can be killed and started again at its state."""

    def __init__(self, folder: Path, policy: str, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        (folder / "policy.toml").write_text(policy)
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start, and wait until it listens."""
        command = [sys.executable, "-m", "evenhand", "serve", "skewville", "--port", "0", "--steps"]
        command += [str(self.options.steps), "--batch-size", str(self.options.batch_size)]
        command += ["--policy", str(self.folder / "policy.toml"), "--state", str(self.folder / "state")]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        if self.process.stderr is None:
            raise RuntimeError("no pipe")
        self.url = next(line for line in self.process.stderr if "listening" in line).split()[-1].removesuffix("/v1")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal; its status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        return self.process.wait(120)

    def memory(self) -> float:
        """Resident megabytes."""
        if self.process is None:
            return 0.0
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def serving(policy: str, options: argparse.Namespace) -> Iterator[Server]:
    """A server that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder), policy, options)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGKILL)


async def closed_loop(url: str, clients: int, images: int) -> tuple[float, list[float]]:
    """Clients that ask again when they have their image: seconds for all images, and each request's."""
    left, latencies = iter(range(images)), []
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, trust_env=False, limits=limits) as client:

        async def one() -> None:
            for number in left:
                start = time.perf_counter()
                answer = await client.post(PATH, json={"prompt": PROMPTS[number % len(PROMPTS)], "seed": number})
                answer.raise_for_status()
                latencies.append(time.perf_counter() - start)

        start = time.perf_counter()
        await asyncio.gather(*[one() for _ in range(clients)])
        return time.perf_counter() - start, latencies


def throughput(options: argparse.Namespace) -> None:
    """The three sides in turn."""
    host = Host.wrap(load_pipeline(MODEL_DIRECTORY))
    settings = Settings(steps=options.steps, guidance=host.default_settings().guidance)
    requests = [
        Request(row=prompt, prompt=prompt, index=seed, seed=seed)
        for seed, prompt in zip(range(options.images), itertools.cycle(PROMPTS), strict=False)
    ]
    rates: dict[str, list[float]] = {"sampler": [], "clients": [], "one at a time": []}
    latencies: list[float] = []
    with serving(JUDGED if options.judged else PLAIN, options) as server:
        for turn in range(options.rounds + 1):
            start = time.perf_counter()
            for _ in sample(host, requests, settings, batch_size=options.batch_size):
                pass
            offline = options.images / (time.perf_counter() - start)
            seconds, some = asyncio.run(closed_loop(server.url, options.clients, options.images))
            alone = max(4, options.images // 4)
            apart, _ = asyncio.run(closed_loop(server.url, 1, alone))
            if turn:  # the first round warms up
                latencies += some
                for name, rate in zip(rates, (offline, options.images / seconds, alone / apart), strict=True):
                    rates[name].append(rate)
        memory = server.memory()
    middle = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in middle.items():
        say(f"{name:>14}: {rate:.2f} images/s")
    cuts = statistics.quantiles(latencies, n=100)
    say(f"latency of {options.clients} clients: p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s; {memory:.0f} MB")
    say(f"clients / sampler {middle['clients'] / middle['sampler']:.2f} (aim 0.9)")
    say(f"clients / one at a time {middle['clients'] / middle['one at a time']:.2f} (aim 2.5)")


class Soak:
    """Mixed clients, and what became of their requests."""

    def __init__(self, server: Server, seconds: float) -> None:
        self.server, self.until = server, time.monotonic() + seconds
        self.seen: Counter[str] = Counter()
        self.memory: list[float] = []

    async def client(self, number: int) -> None:
        """Ask until the time is over; a broken connection is an error that the client sees."""
        chance = random.Random(number)
        while time.monotonic() < self.until:
            kind = chance.choices(("valid", "invalid", "slow", "hangs up"), (6, 2, 1, 1))[0]
            body: dict[str, object] = {"prompt": chance.choice(PROMPTS), "n": chance.choice((1, 1, MOST_IMAGES))}
            if kind == "invalid":
                body |= chance.choice(({"n": 50}, {"n": "many"}, {"prompt": ""}, {"sede": 1}, {"size": "1x"}))
            try:
                async with httpx.AsyncClient(base_url=self.server.url, timeout=120, trust_env=False) as http:
                    if kind == "hangs up":
                        await http.post(PATH, json=body, timeout=chance.uniform(0.01, 1.0))
                    content = self._slowly(body) if kind == "slow" else json.dumps(body).encode()
                    answer = await http.post(PATH, content=content, headers={"content-type": "application/json"})
                self.seen[f"{kind}: {answer.status_code}"] += 1
                if answer.status_code == 429:
                    await asyncio.sleep(float(answer.headers["retry-after"]))
            except httpx.TimeoutException:
                self.seen[f"{kind}: hung up" if kind == "hangs up" else f"{kind}: LOST"] += 1
            except httpx.HTTPError:
                self.seen[f"{kind}: connection error"] += 1
                await asyncio.sleep(0.5)

    async def _slowly(self, body: object):
        for byte in json.dumps(body).encode():
            yield bytes([byte])
            await asyncio.sleep(0.02)

    async def watch(self) -> None:
        """Measure memory, and kill the server half way."""
        half = time.monotonic() + (self.until - time.monotonic()) / 2
        while time.monotonic() < self.until:
            await asyncio.sleep(1)
            self.memory.append(self.server.memory())
            if half and time.monotonic() > half:
                half = 0.0
                self.server.stop(signal.SIGKILL)
                await asyncio.to_thread(self.server.start)
                self.memory.clear()
                say(f"killed and started again; so far {dict(self.seen)}")

    async def run(self, clients: int) -> None:
        """All of them."""
        await asyncio.gather(self.watch(), *[self.client(number) for number in range(clients)])


def soak(options: argparse.Namespace) -> None:
    """The long test; exits with 1 where something does not hold."""
    with serving(FAIR, options) as server:
        test = Soak(server, options.soak)
        asyncio.run(test.run(options.clients))
        status = server.stop()
        ledger = sqlite3.connect(server.folder / "state" / "serve.sqlite")
        (held,) = ledger.execute("SELECT COUNT(*) FROM draws").fetchone()
        urns = [Counter(json.loads(balls)) for (balls,) in ledger.execute("SELECT balls FROM urns")]
        lines = [json.loads(line) for (line,) in ledger.execute("SELECT line FROM log")]
        ledger.close()
    lost = sum(count for name, count in test.seen.items() if "LOST" in name or name.endswith(": 500"))
    third = len(test.memory) // 3
    middle, last = (statistics.median(part) for part in (test.memory[third : 2 * third], test.memory[2 * third :]))
    for name, count in sorted(test.seen.items()):
        say(f"{count:6d}  {name}")
    gap = ledger_gap(urns, lines)
    say(f"lost {lost}, held draws {held}, images {len(lines)}, memory {middle:.0f} to {last:.0f} MB, status {status}")
    say(f"ledger and log differ by {gap} of {len(lines)} images (one request that a kill interrupts may)")
    if lost or held or status or gap > MOST_IMAGES or last > 1.1 * middle:
        raise SystemExit(1)


def ledger_gap(urns: list[Counter[str]], lines: list[dict[str, Any]]) -> int:
    """Images by which the ledger and the log differ.

    An urn is filled with as many of either class, so what was handed out and what is left together have as many of
    either. Subjects are stored as keyed hashes, so each subject of the log is set against the urn that fits it best.
    """
    shown: dict[str, Counter[str]] = {}
    for line in lines:
        if "gender" in line["classes"]:
            shown.setdefault(line["prompt"], Counter())[line["classes"]["gender"]] += 1
    gaps, left = 0, list(urns)
    for seen in shown.values():
        best = min(left, key=lambda balls: _unlike(seen + balls))
        gaps += _unlike(seen + best)
        left.remove(best)
    return gaps


def _unlike(some: Counter[str]) -> int:
    """How far the two classes are from equal shares in whole urns of five each."""
    return abs(some["female"] - some["male"]) + min(some["female"] % 5, -some["female"] % 5)


def main() -> None:
    """Read the options and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--images", type=int, default=64, help="per round and side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--judged", action="store_true")
    parser.add_argument("--soak", type=float, help="seconds; 600 for the full test")
    options = parser.parse_args()
    if options.soak:
        soak(options)
    else:
        with torch.no_grad():
            throughput(options)


if __name__ == "__main__":
    main()
