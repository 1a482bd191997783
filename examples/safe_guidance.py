"""Safe guidance on the same seeds: without, and with preset `balanced`, side by side.

python examples/safe_guidance.py --prompt "a photo of a person in a battle" --images 6 --out battle.png
"""

import argparse
from pathlib import Path

from PIL import Image

from evenhand import Host, Request, load_pipeline, sample
from evenhand.methods.local_guidance import local_policy
from evenhand.methods.safe_guidance import safe_guidance
from evenhand.skewville import MODEL_DIRECTORY

PARTS = ("blood", "a weapon", "fire")


def main() -> None:
    """Write the pairs as one picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(MODEL_DIRECTORY))
    parser.add_argument("--prompt", default="a photo of a person in a battle")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("safe-guidance.png"))
    given = parser.parse_args()
    requests = [Request(row="", prompt=given.prompt, index=k, seed=k) for k in range(given.images)]
    policy = local_policy([f"a person with {part}" for part in PARTS], base="a person")
    with Host.wrap(load_pipeline(given.model)) as host:
        settings = host.default_settings()
        plain = [one.image for one in sample(host, requests, settings)]
        with host.attached(safe_guidance(policy)):
            safe = list(sample(host, requests, settings))
    for one in safe:
        told = one.evidence["safe-guidance"]
        print(f"seed {one.request.seed}: {told['active_steps']} active steps, norm {told['norm']:.2f}")
    pairs = [(Image.fromarray(a), Image.fromarray(b.image)) for a, b in zip(plain, safe, strict=True) if a is not None]
    width, height = pairs[0][0].size
    sheet = Image.new("RGB", (2 * width, height * len(pairs)))
    for row, pair in enumerate(pairs):
        for column, image in enumerate(pair):
            sheet.paste(image, (column * width, row * height))
    sheet.save(given.out)


if __name__ == "__main__":
    main()
