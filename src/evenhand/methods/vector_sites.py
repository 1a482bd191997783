"""Modules of a denoiser at which a concept may have a handle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from evenhand.errors import InputError
from evenhand.host.carrier import module_at
from evenhand.host.host import Host
from evenhand.host.runs import Onlooker, Runs, run
from evenhand.host.sampler import sample
from evenhand.methods.trajectories import MeanActivation
from evenhand.records import Request, Sample, Settings

LARGEST_SPATIAL = 2**17
"""Values of a module's output above which `auto` takes one vector for all places: it would store megabytes."""


CROSS_ATTENTION = "cross-attention"
"""The site of all cross-attentions of a U-Net together: what the text says enters there and nowhere else."""


def candidate_sites(host: Host) -> tuple[str, ...]:
    """Sites in the order in which they are tried.

    A U-Net: the middle block (h-space, the published site), all cross-attentions together, then the blocks that follow
    the middle, without the last, which only draws. A transformer: blocks at a half, two thirds and a third of its
    depth. Other denoisers: none, name one.
    """
    children = dict(host.denoiser.named_children())
    lists = [(name, part) for name, part in children.items() if isinstance(part, torch.nn.ModuleList)]
    if "mid_block" in children:
        blocks = [f"up_blocks.{index}" for name, part in lists if name == "up_blocks" for index in range(len(part))]
        attention = (CROSS_ATTENTION,) if _cross_attentions(host.denoiser) else ()
        return ("mid_block", *attention, *blocks[:-1])
    if not lists:
        return ()
    blocks = [f"{name}.{index}" for name, part in lists if "block" in name for index in range(len(part))]
    places = (math.floor(len(blocks) * share) for share in (1 / 2, 2 / 3, 1 / 3))
    return tuple(dict.fromkeys(blocks[min(place, len(blocks) - 1)] for place in places))


def modules_of(host: Host, site: str) -> tuple[str, ...]:
    """The modules of a site: a path is its own module.

    Raises:
        ModelError: there is no such module.
        InputError: the denoiser has no cross-attention.
    """
    if site != CROSS_ATTENTION:
        module_at(host.denoiser, site)
        return (site,)
    found = _cross_attentions(host.denoiser)
    if not found:
        raise InputError(f"{host.name}: its denoiser has no cross-attention; name a module")
    return found


def _cross_attentions(denoiser: torch.nn.Module) -> tuple[str, ...]:
    return tuple(name for name, _ in denoiser.named_modules() if name.endswith(".attn2"))


def class_means(
    host: Host,
    texts: Mapping[str, str],
    modules: Sequence[str],
    runs: Runs,
    *,
    spatial: bool | None = None,
    each: bool = False,
) -> tuple[dict[str, dict[str, MeanActivation]], dict[str, list[Sample]]]:
    """Module -> class -> its mean activations, and class -> the images with their latents, of the same runs.

    Args:
        host: the model.
        texts: class -> prompt.
        modules: paths inside the denoiser.
        runs: the seeds are the same for every class.
        spatial: whether places are kept apart; None does so while a module gives no more than `LARGEST_SPATIAL`
            values per image.
        each: also keeps what single images give, where that is no more than `LARGEST_SPATIAL` values.

    Cost: steps denoiser rows per seed and class, whatever the number of modules.
    """
    sizes = _sizes(host, next(iter(texts.values())), modules, runs)
    found: dict[str, dict[str, MeanActivation]] = {module: {} for module in modules}
    made: dict[str, list[Sample]] = {}
    for name, text in texts.items():
        for module in modules:
            kept = sizes[module] <= LARGEST_SPATIAL if spatial is None else spatial
            few = not kept or sizes[module] <= LARGEST_SPATIAL
            found[module][name] = MeanActivation(module, spatial=kept, each=each and few)
        with host.attached(*(Onlooker("activation", found[module][name]) for module in modules)):
            made[name] = pictures(host, [text] * len(runs.seeds), runs)
    return found, made


def pictures(host: Host, prompts: Sequence[str], runs: Runs) -> list[Sample]:
    """The images of runs with their latents.

    Args:
        host: the model, with whatever is attached to it.
        prompts: one for each seed.
        runs: how it is run.

    Cost: steps denoiser rows per seed.
    """
    requests = [
        Request(row="", prompt=prompt, index=index, seed=seed)
        for index, (prompt, seed) in enumerate(zip(prompts, runs.seeds, strict=True))
    ]
    settings = Settings(steps=runs.steps, guidance=runs.guidance)
    return list(sample(host, requests, settings, batch_size=runs.batch, keep_latents=True, pad=False))


class _Size:
    """Keeps how many values per image a module gives; tokens of a transformer count as too many to keep apart."""

    def __init__(self, module: str) -> None:
        self.module, self.values = module, 0

    def shift(self, step: object, output: torch.Tensor) -> torch.Tensor:
        self.values = output[0].numel() if output.ndim == 4 else LARGEST_SPATIAL + 1
        return output

    def evidence(self) -> tuple[()]:
        return ()


def _sizes(host: Host, text: str, modules: Sequence[str], runs: Runs) -> dict[str, int]:
    """Values per image of each module, from one step of one image."""
    seen = [_Size(module) for module in modules]
    with host.attached(*(Onlooker("activation", one) for one in seen)):
        run(host, text, Runs(seeds=runs.seeds[:1], steps=1, guidance=runs.guidance, batch=1))
    return {one.module: one.values for one in seen}
