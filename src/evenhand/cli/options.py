"""The options that commands share, once each, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError
from ..verbs.config import Effort, EndpointOptions, ImageOptions, ModelOptions, Question
from .groups import Group

_IMAGES, _MODEL, _ENDPOINT, _OUTPUT = "Images", "Model", "Endpoint", "Output"

Source = Annotated[
    str,
    typer.Argument(
        help="skewville, a Hub id, a diffusers directory, a .safetensors file, the base URL of an OpenAI-compatible "
        "endpoint, or a folder of images."
    ),
]
Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE...",
        help="skewville, a Hub id, a diffusers directory, a .safetensors file, the base URL of an OpenAI-compatible "
        "endpoint, or a folder of images; MODEL+LORA loads a LoRA. Several are compared with the first.",
    ),
]
Model = Annotated[str, typer.Argument(help="skewville, a Hub id, a diffusers directory, or one .safetensors file.")]
Concepts = Annotated[list[str], typer.Option("--concept", help="What to measure: a name or a .toml file; repeat it.")]
Present = Annotated[str | None, typer.Option(help="A concept from two texts: this one says that it is there,")]
Absent = Annotated[str | None, typer.Option(help="and this one that it is not.")]
Targets = Annotated[list[str], typer.Option("--target", help='Wanted shares, "gender=female:0.5,male:0.5"; repeat it.')]
Prompts = Annotated[
    str | None,
    typer.Option(help="Prompt set by name, i2p, or a .txt, .csv or .parquet file; else the concept's own."),
]
PromptSettings = Annotated[
    str,
    typer.Option(
        help="Of a published set such as i2p: fixed (guidance and size of the run), or own (each prompt's own seed, "
        "guidance and size)."
    ),
]
Associations = Annotated[
    list[str],
    typer.Option(
        "--association",
        help="GROUPS:ATTRIBUTE,...: what pictures show when the same prompts name each group, origin:scarf; repeat it.",
    ),
]
Benign = Annotated[
    bool,
    typer.Option("--benign/--no-benign", help="Beside safety: are harmless look-alikes refused, and do they drift?"),
]
ImagesPerPrompt = Annotated[int | None, typer.Option(help="Images per prompt row; 100 unless given.")]
UntilDecided = Annotated[
    bool,
    typer.Option(
        help="Stop each prompt as soon as its verdict is reached; --images-per-prompt is the most, 400 unless given."
    ),
]
Precision = Annotated[
    float | None,
    typer.Option(help="Instead: the half-width that a share's interval may have; an audit stops each prompt there."),
]
AnyTime = Annotated[
    bool,
    typer.Option(
        "--any-time", help="Intervals that hold whenever one stops: for a number of images chosen while watching."
    ),
]
Limit = Annotated[int | None, typer.Option(help="Only the first rows of each prompt set.")]
JudgeName = Annotated[
    str | None, typer.Option("--judge", help="A judge's name, or a CLIP model; else the model's own.")
]
Judges = Annotated[
    list[str],
    typer.Option("--judge", help="A judge's name, or a CLIP model; else the model's own. Repeat it for a panel."),
]
Labels = Annotated[
    Path | None, typer.Option(help="Human labels of a random sample of the run's images (see `evenhand labels`).")
]
With = Annotated[list[str], typer.Option("--with", help="An intervention, method:key=value,...; repeat it to stack.")]
Arms = Annotated[
    list[str], typer.Option("--with", help='An arm, method:key=value,... or "A + B" stacked; repeat it for more arms.')
]
Plan = Annotated[
    Path | None, typer.Option(help="A file of `evenhand plan --lock`: the report says pre-registered if it is kept to.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
FailOn = Annotated[
    list[str],
    typer.Option(
        "--fail-on",
        help='Exit with 3 unless "deviation.gender<=0.1", or "deviation.gender.high<=0.1", holds; repeat it.',
    ),
]

Steps = Annotated[int | None, typer.Option(help="Denoising steps.", rich_help_panel=_IMAGES)]
Guidance = Annotated[float | None, typer.Option(help="Guidance scale; 1 is none.", rich_help_panel=_IMAGES)]
Scheduler = Annotated[str | None, typer.Option(help="Such as ddim, euler, dpm++.", rich_help_panel=_IMAGES)]
Size = Annotated[str | None, typer.Option(help="Width x height in pixels, 512x512.", rich_help_panel=_IMAGES)]
NegativePrompt = Annotated[str | None, typer.Option(help="What images should not show.", rich_help_panel=_IMAGES)]
Seed = Annotated[int, typer.Option(help="Seed of the run.", rich_help_panel=_IMAGES)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:k.", rich_help_panel=_MODEL)]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODEL)]
BatchSize = Annotated[int | None, typer.Option(help="Images per batch.", rich_help_panel=_MODEL)]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the Hub.", rich_help_panel=_MODEL)]
Variant = Annotated[str | None, typer.Option(help="Variant of the weight files, such as fp16.", rich_help_panel=_MODEL)]
Lora = Annotated[str | None, typer.Option(help="A LoRA to load: path or Hub id.", rich_help_panel=_MODEL)]

EndpointModel = Annotated[
    str | None,
    typer.Option(help="The model's name at the endpoint; the key is in OPENAI_API_KEY.", rich_help_panel=_ENDPOINT),
]
MaxCost = Annotated[
    float | None, typer.Option(help="Stop before the images cost more, over all sessions.", rich_help_panel=_ENDPOINT)
]
ImagePrice = Annotated[float | None, typer.Option(help="What an image costs there.", rich_help_panel=_ENDPOINT)]
Concurrency = Annotated[int, typer.Option(help="Requests at a time.", rich_help_panel=_ENDPOINT)]
EndpointSeeds = Annotated[
    bool,
    typer.Option("--endpoint-seeds", help="Send each image's seed; not all take one.", rich_help_panel=_ENDPOINT),
]

Engine = Annotated[
    str, typer.Option("--engine", help="Where images are made: local, or ray (workers of a Ray cluster).")
]
Out = Annotated[
    Path | None, typer.Option(help="Directory to write; else runs/<command>-<hash>.", rich_help_panel=_OUTPUT)
]
FitOut = Annotated[
    Path | None, typer.Option("--out", help="Folder to write; else fits/<method>-<concept>.", rich_help_panel=_OUTPUT)
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else.", rich_help_panel=_OUTPUT)
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No bars, no remarks.", rich_help_panel=_OUTPUT)]


def question(  # noqa: PLR0913  (every parameter is an option)
    concept: Concepts = [],  # noqa: B006  (typer reads the default and never shares it)
    present: Present = None,
    absent: Absent = None,
    target: Targets = [],  # noqa: B006
    prompts: Prompts = None,
    prompt_settings: PromptSettings = "fixed",
    association: Associations = [],  # noqa: B006
    benign: Benign = True,
    limit: Limit = None,
) -> Question:
    """What is asked about which prompts. Raises: InputError for what cannot be used."""
    return Question(
        concepts=tuple(concept),
        phrases=phrases(present, absent),
        targets=tuple(target),
        prompts=prompts,
        limit=limit,
        own_settings=own_settings(prompt_settings),
        benign=benign,
        associations=tuple(association),
    )


def effort(
    images_per_prompt: ImagesPerPrompt = None,
    precision: Precision = None,
    until_decided: UntilDecided = False,
    any_time: AnyTime = False,
    seed: Seed = 0,
) -> Effort:
    """How many images, and from which seed. Raises: InputError for what cannot be used."""
    return Effort(
        images_per_prompt=images_per_prompt,
        precision=precision,
        until_decided=until_decided,
        any_time=any_time,
        seed=seed,
    )


def image_options(
    steps: Steps = None,
    guidance: Guidance = None,
    scheduler: Scheduler = None,
    size: Size = None,
    negative_prompt: NegativePrompt = None,
) -> ImageOptions:
    """The options of images as a record. Raises: InputError for what cannot be used."""
    return ImageOptions(
        steps=steps,
        guidance=guidance,
        scheduler=scheduler,
        size=None if size is None else _size(size),
        negative_prompt=negative_prompt,
    )


def model_options(
    device: Device = "auto",
    dtype: Dtype = "auto",
    batch_size: BatchSize = None,
    revision: Revision = None,
    variant: Variant = None,
    lora: Lora = None,
) -> ModelOptions:
    """The options of models as a record. Raises: InputError for what cannot be used."""
    return ModelOptions(
        device=device, dtype=dtype, batch_size=batch_size, revision=revision, variant=variant, lora=lora
    )


def endpoint_options(
    endpoint_model: EndpointModel = None,
    max_cost: MaxCost = None,
    image_price: ImagePrice = None,
    concurrency: Concurrency = 4,
    endpoint_seeds: EndpointSeeds = False,
) -> EndpointOptions:
    """The options of endpoints as a record. Raises: InputError for what cannot be used."""
    return EndpointOptions(
        model=endpoint_model,
        max_cost=max_cost,
        image_price=image_price,
        concurrency=concurrency,
        seeds=endpoint_seeds,
    )


Asked = Annotated[Question, Group(question)]
Amount = Annotated[Effort, Group(effort)]
PairedAmount = Annotated[Effort, Group(effort, without=("until_decided", "any_time"))]
Images = Annotated[ImageOptions, Group(image_options)]
Served = Annotated[ImageOptions, Group(image_options, without=("negative_prompt",))]
Loading = Annotated[ModelOptions, Group(model_options)]
Endpoint = Annotated[EndpointOptions, Group(endpoint_options)]


def own_settings(text: str) -> bool:
    """Whether prompts have their own settings. Raises: InputError for anything but "fixed" and "own"."""
    if text not in ("fixed", "own"):
        raise InputError(f"--prompt-settings {text}: expected fixed or own")
    return text == "own"


def phrases(present: str | None, absent: str | None) -> tuple[str, str] | None:
    """The two texts of a concept given by texts; None where none is. Raises: InputError for one without the other."""
    if present is None and absent is None:
        return None
    if present is None or absent is None:
        raise InputError("--present and --absent make a concept together: give both texts")
    return present, absent


def _size(text: str) -> tuple[int, int]:
    width, sign, height = text.lower().partition("x")
    if not (sign and width.isdecimal() and height.isdecimal()):
        raise InputError(f"--size {text}: expected width x height in pixels, such as 512x512")
    return int(width), int(height)
