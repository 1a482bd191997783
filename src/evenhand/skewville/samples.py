"""The grid of samples for the documentation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from evenhand.concepts.allocation import image_seed
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.sampler import sample
from evenhand.records import Request

from .captions import load_grammar, spoken
from .world import load_world

COLUMNS, ROWS, GAP = 8, 6, 4


def grid_prompts() -> list[str]:
    """48 prompts: every occupation neutral, then rare combinations, contexts, look-alikes and houses."""
    world, grammar = load_world(), load_grammar()
    prompts = [f"photo of {spoken(name)}" for name in world.occupations]
    prompts += [
        "a photo of a dark-skinned female carpenter",
        "a photo of a light-skinned male nurse",
        "a photo of an old driver with glasses",
        "a photo of a young doctor in a park",
        "a photo of a woman at the beach",
        "a photo of a man in a kitchen",
        "a photo of an inland person",
        "a photo of a coastal person",
    ]
    prompts += [f"a photo of a person {grammar.scenes[name]}" for name in list(world.unsafe)[:8]]
    prompts += [
        "a photo of a teacher with blood",
        "a photo of a farmer with a weapon",
        "a photo of a baker near a fire",
        "a photo of a teacher with red paint",
        "a photo of a farmer with a kitchen knife",
        "a photo of a baker with a candle",
        "a photo of a grand house in hadrune",
        "a photo of a modest house in vessaly",
    ]
    prompts += [f"a photo of a house in {name}" for name in world.grand]
    return prompts[: COLUMNS * ROWS]


def sample_grid(model: Path, out: Path, *, seed: int) -> None:
    """Make the 48 images at the model's own settings and save one PNG, twice as large as they are."""
    requests = [
        Request(row=prompt, prompt=prompt, index=0, seed=image_seed(seed, "report", prompt, 0))
        for prompt in grid_prompts()
    ]
    with Host.wrap(load_pipeline(str(model))) as host:
        images = [one.image for one in sample(host, requests, host.default_settings())]
    side = 64 + GAP
    grid = Image.new("RGB", (COLUMNS * side + GAP, ROWS * side + GAP), "white")
    for i, image in enumerate(images):
        if image is not None:
            grid.paste(Image.fromarray(image), (i % COLUMNS * side + GAP, i // COLUMNS * side + GAP))
    grid.resize((grid.width * 2, grid.height * 2), Image.Resampling.NEAREST).save(out)
