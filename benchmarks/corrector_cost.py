"""What the stereotype corrector costs: floating-point operations (counted), and wall time, both over a plain call.

    python benchmarks/corrector_cost.py [--fit DIR] [--images 8] [--rounds 9]

Without `--fit` a score with random weights is attached: what it costs does not depend on what it has learnt. Both sides
run interleaved, and medians are compared.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import Any

import torch
from interleaved import interleaved, say
from torch.utils.flop_counter import FlopCounterMode

from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.interventions.latent_correction import LatentCorrection
from evenhand.interventions.storage import load_intervention
from evenhand.methods.preference_score import PreferenceScore, score_of
from evenhand.records import Request
from evenhand.skewville import MODEL_DIRECTORY


def main() -> None:
    """Count, then time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, help="folder of a fitted corrector")
    parser.add_argument("--images", type=int, default=8, help="per call")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    host = Host.wrap(load_pipeline(MODEL_DIRECTORY))
    correction = LatentCorrection(
        name="corrector", score=_score(host, options.fit), wanted=lambda call: [("female", 1.0)] * call.images
    )
    requests = [Request(row="nurse", prompt="a photo of a nurse", index=k, seed=k) for k in range(options.images)]

    def make(*attached: Any) -> None:
        with host.attached(*attached):
            list(sample(host, requests, host.default_settings(), batch_size=options.images))

    corrected = functools.partial(make, correction)
    counts = {name: _operations(run) for name, run in (("plain", make), ("corrected", corrected))}
    say(f"operations: {counts['corrected'] / counts['plain']:.4f} x of {counts['plain'] / options.images:.3e} an image")
    rates = interleaved([("plain", make, options.images), ("corrected", corrected, options.images)], options.rounds)
    ratio = rates["plain"] / rates["corrected"]
    say(f"wall time: {ratio:.3f} x, {options.rounds} rounds, {torch.get_num_threads()} threads")


def _score(host: Host, folder: Path | None) -> PreferenceScore:
    if folder is None:
        return PreferenceScore(("female", "male"), host.denoiser.config.in_channels).eval().requires_grad_(False)
    tensors, card = load_intervention(folder, host)
    return score_of(tensors, tuple(card.concept["classes"][k]["name"] for k in range(len(card.concept["classes"]))))


def _operations(run: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


if __name__ == "__main__":
    main()
