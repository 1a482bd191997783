"""The sampler against plain diffusers; both sides interleaved in one process, ratios of images per second.

    python benchmarks/bench_sampler.py                 the embedded model
    python benchmarks/bench_sampler.py --random        random weights of the same shape
    python benchmarks/bench_sampler.py --model DIR     any diffusers directory

(a) our sampler at automatic dtype and batch size over a plain loop with batch 1 in float32; aim >= 4.
(b) our sampler over one plain call at the same batch size and dtype; aim >= 0.97.

Each round times every side once, in an order that turns; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from interleaved import interleaved, say
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from evenhand.host.dtype import dtype_name
from evenhand.host.host import Host
from evenhand.host.load import load_pipeline
from evenhand.host.memory import default_batch_size
from evenhand.host.quiet import without_deprecations
from evenhand.host.sampler import sample
from evenhand.records import Request, Settings
from evenhand.skewville import MODEL_DIRECTORY

PROMPT = "a photo of a nurse"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a diffusers directory; default is the embedded model")
    parser.add_argument("--random", action="store_true", help="random weights in the shape of the embedded model")
    parser.add_argument("--steps", type=int, help="denoising steps; default is the model's own")
    parser.add_argument("--batch-size", type=int, help="images per batch; default is by family and memory")
    parser.add_argument("--singles", type=int, default=4, help="images of the plain loop with batch 1, per round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, for a machine that is busy")
    options = parser.parse_args()
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
        library.utils.logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as folder:
        if options.random:
            random_model(Path(folder))
        measure(Path(folder) if options.random else options.model or MODEL_DIRECTORY, options)


def measure(model: Path, options: argparse.Namespace) -> None:
    ours = Host.wrap(load_pipeline(model, device=options.device))
    half = next(ours.denoiser.parameters()).dtype
    with without_deprecations():
        exact, plain = (
            DiffusionPipeline.from_pretrained(model, dtype=dtype).to(ours.pipe.device)
            for dtype in (torch.float32, half)
        )
    own = ours.default_settings()
    settings = Settings(steps=options.steps or own.steps, guidance=own.guidance)
    size = options.batch_size or default_batch_size(ours, settings)
    for pipe in (exact, plain):
        pipe.set_progress_bar_config(disable=True)

    def call(pipe: Any, first: int, count: int) -> None:
        pipe(
            [PROMPT] * count,
            num_inference_steps=settings.steps,
            guidance_scale=settings.guidance,
            generator=[torch.Generator("cpu").manual_seed(seed) for seed in range(first, first + count)],
            output_type="np",
        )

    def sampler() -> None:
        requests = [Request(row="nurse", prompt=PROMPT, index=i, seed=i) for i in range(size)]
        for _ in sample(ours, requests, settings, batch_size=size):
            pass

    def loop() -> None:
        for seed in range(options.singles):
            call(exact, seed, 1)

    sides: list[tuple[str, Callable[[], None], int]] = [
        ("sampler", sampler, size),
        ("plain, same batch and dtype", lambda: call(plain, 0, size), size),
        ("plain, batch 1, float32", loop, options.singles),
    ]
    shape = f"{settings.steps} steps, guidance {settings.guidance}, batch {size}, {dtype_name(half)}"
    say(f"{model}: {shape}, on {ours.pipe.device}, {torch.get_num_threads()} threads")
    rates = interleaved(sides, options.rounds, time.process_time if options.cpu_time else time.perf_counter)
    for name, rate in rates.items():
        say(f"{name:28} {rate:8.2f} images/s")
    first, same, single = rates.values()
    say(f"(a) sampler / plain loop with batch 1 in float32: {first / single:.2f}  (aim >= 4)")
    say(f"(b) sampler / plain call at the same batch and dtype: {first / same:.3f}  (aim >= 0.97)")


def random_model(folder: Path) -> None:
    """A pipeline in the shape of the embedded model, with random weights."""
    letters = string.ascii_lowercase
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=16)
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=16,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    decoder: dict[str, Any] = {
        "block_out_channels": (16, 48, 96),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
    }
    scheduler: Any = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    without_checker: Any = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    StableDiffusionPipeline(
        vae=AutoencoderKL(latent_channels=4, norm_num_groups=8, layers_per_block=1, **decoder),
        text_encoder=CLIPTextModel(text),
        tokenizer=tokenizer,
        unet=UNet2DConditionModel(
            sample_size=16,
            block_out_channels=(48, 96, 160),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=128,
            attention_head_dim=4,
            norm_num_groups=8,
        ),
        scheduler=scheduler,
        **without_checker,
    ).save_pretrained(folder)
    (folder / "evenhand.json").write_text('{"steps": 25, "guidance": 2.5}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
