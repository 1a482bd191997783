"""What the user asks of a verb, checked when it is made, before anything is loaded or written."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from ..concepts.allocation import check_seed
from ..errors import InputError
from ..records import Record

ENGINES = ("local", "ray")
_Z95 = 1.959963984540054


def at_least(option: str, value: int | None, least: int) -> None:
    """Raises InputError when a number is given and is below `least`."""
    if value is not None and value < least:
        raise InputError(f"{option} {value}: expected a whole number of {least} or more")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(Record):
    """How a model is loaded and run; the defaults leave every choice to the model and the machine."""

    device: str = "auto"
    dtype: str = "auto"
    batch_size: int | None = None
    revision: str | None = None
    variant: str | None = None
    lora: str | None = None

    def __post_init__(self) -> None:
        at_least("--batch-size", self.batch_size, 1)
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise InputError(f"--dtype {self.dtype}: expected auto, float32, bfloat16 or float16")

    @property
    def given(self) -> dict[str, bool]:
        """Whether each option was given, by its name on the command line: what makes no images itself refuses them."""
        plain = ModelOptions().to_dict()
        return {f"--{name.replace('_', '-')}": value != plain[name] for name, value in self.to_dict().items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageOptions(Record):
    """How images are made; None means the model's own default. `size` is (width, height) in pixels."""

    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None
    size: tuple[int, int] | None = None
    negative_prompt: str | None = None

    def __post_init__(self) -> None:
        at_least("--steps", self.steps, 1)
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise InputError(f"--guidance {self.guidance}: expected a number of 0 or more (1 means no guidance)")
        if self.size is not None and any(side < 8 or side % 8 for side in self.size):
            width, height = self.size
            raise InputError(f"--size {width}x{height}: expected two multiples of 8, such as 512x512")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question(Record):
    """What is measured, and on which prompts.

    `phrases` is a concept given by two texts, (present, absent); `targets` are written as
    "gender=female:0.5,male:0.5"; `prompts` overrides the set that each concept names; `limit` keeps the first rows.
    With `own_settings` every prompt of a published set has the seed, guidance and size that it was published with.
    With `benign` the harmless look-alikes of every safety concept are measured beside it; `associations` are written
    as "origin:scarf".
    """

    concepts: tuple[str, ...] = ()
    phrases: tuple[str, str] | None = None
    targets: tuple[str, ...] = ()
    prompts: str | None = None
    limit: int | None = None
    own_settings: bool = False
    benign: bool = True
    associations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at_least("--limit", self.limit, 1)
        if not self.concepts and self.phrases is None and not self.associations:
            raise InputError("nothing to measure: give --concept NAME (see `evenhand list concepts`)")
        repeated = sorted({name for name in self.concepts if self.concepts.count(name) > 1})
        if repeated:
            raise InputError(f"--concept {repeated[0]} is given twice: expected each concept once")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effort(Record):
    """How many images, and from which seed.

    With `precision` each prompt stops as soon as the confidence sequences of its shares have that half-width, with
    `until_decided` as soon as its verdict is reached; the number is then the most that it takes. Where arms are
    `paired` all need the same images, and `precision` fixes their number beforehand. With `any_time` every image is
    made, and intervals are stated that hold whenever one stops: for a number at which somebody stopped who had watched.
    """

    images_per_prompt: int | None = None
    precision: float | None = None
    until_decided: bool = False
    any_time: bool = False
    paired: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        at_least("--images-per-prompt", self.images_per_prompt, 1)
        if self.images_per_prompt is not None and self.precision is not None:
            raise InputError("--images-per-prompt and --precision both say how many images: give one of them")
        if self.until_decided and self.precision is not None:
            raise InputError("--until-decided and --precision both say when to stop: give one of them")
        if self.any_time and (self.until_decided or self.precision is not None):
            raise InputError("--any-time makes every image: leave --until-decided and --precision out")
        if self.precision is not None and not 0 < self.precision < 0.5:
            raise InputError(f"--precision {self.precision}: expected a half-width between 0 and 0.5, such as 0.05")

    @property
    def stops(self) -> bool:
        """Whether each prompt stops by its own numbers, or stopped by those that somebody watched."""
        return self.until_decided or self.any_time or (self.precision is not None and not self.paired)

    @property
    def half_width(self) -> float | None:
        """Where a prompt stops: at a precision, for `any_time` never; None at a verdict."""
        return 0.0 if self.any_time else self.precision

    @property
    def images(self) -> int:
        """Images per prompt row, at most: as given, or from the precision, or 100, at which *fair* can be found."""
        if self.precision is not None:
            from ..metrics.sequences import images_for_sequence  # needs scipy, which help does not

            # Ten classes at once need the highest level; what two need less they do not take.
            return images_for(self.precision) if self.paired else images_for_sequence(self.precision, 0.995)
        return (400 if self.until_decided else 100) if self.images_per_prompt is None else self.images_per_prompt


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndpointOptions(Record):
    """How an OpenAI-compatible endpoint is asked.

    Args:
        model: its name there.
        max_cost: what the run may cost over all sessions; None for no cap.
        image_price: of an image, in the same currency; None where the endpoint says it in `usage.cost`, or nobody.
        concurrency: requests at a time.
        seeds: whether to send each image's seed; not every endpoint takes one.
    """

    model: str | None = None
    max_cost: float | None = None
    image_price: float | None = None
    concurrency: int = 4
    seeds: bool = False

    def __post_init__(self) -> None:
        at_least("--concurrency", self.concurrency, 1)
        for option, value in (("--max-cost", self.max_cost), ("--image-price", self.image_price)):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{option} {value}: expected an amount of 0 or more, such as 5.00")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """One audit. `source` is a model or a folder of images; `out` None means a directory named by the configuration.

    `panel` names judges that vote together with `judge`; `labels` is a sheet of human labels. `interventions` are
    SPECs, attached together in order; `plan` is a file that `plan --lock` wrote before. `card` is the model whose card
    says what is known and how images are made, None for the source itself. `engine` says where images are made; it is
    no part of the configuration, so that one may go on where another stopped.
    """

    source: str
    question: Question
    effort: Effort = Effort()
    image: ImageOptions = ImageOptions()
    model: ModelOptions = ModelOptions()
    endpoint: EndpointOptions = EndpointOptions()
    judge: str | None = None
    panel: tuple[str, ...] = ()
    labels: Path | None = None
    interventions: tuple[str, ...] = ()
    plan: Path | None = None
    out: Path | None = None
    command: str = ""
    card: str | None = None
    engine: str = "local"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise InputError(f"--engine {self.engine}: expected {' or '.join(ENGINES)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
    """One attack: `audit` says on what, with its interventions as arms; the rest is the effort of the search.

    Every round tries `tries` prompts for each goal, with an image each. With `explicit` the search may name the unsafe
    things; without, it may only hint at them.
    """

    audit: AuditConfig
    tries: int = 24
    rounds: int = 2
    explicit: bool = True

    def __post_init__(self) -> None:
        at_least("--tries", self.tries, 2)
        at_least("--rounds", self.rounds, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerateConfig:
    """Images of one prompt; image i starts from `torch.Generator("cpu").manual_seed(seed + i)`."""

    source: str
    prompt: str
    images: int = 1
    seed: int = 0
    latents: bool = False
    interventions: tuple[str, ...] = ()
    image: ImageOptions = ImageOptions()
    model: ModelOptions = ModelOptions()
    out: Path | None = None

    def __post_init__(self) -> None:
        at_least("-n", self.images, 1)
        if not self.prompt.strip():
            raise InputError("the prompt is empty: give a text such as 'a photo of a nurse'")
        check_seed(self.seed, self.images)


def images_for(half_width: float) -> int:
    """The fewest images at which the 95 % Wilson interval of a share of one half is no wider than +- `half_width`.

    At p = 1/2 the half-width is z / (2 sqrt(n + z^2)) (Wilson 1927, solved for p = 1/2), hence
    n = z^2 / (4 w^2) - z^2; other shares have narrower intervals.
    """
    return max(1, math.ceil(_Z95**2 / (4 * half_width**2) - _Z95**2 - 1e-9))


def half_width_at(images: int) -> float:
    """The half-width of the 95 % Wilson interval of a share of one half; the inverse of `images_for`."""
    return _Z95 / (2 * math.sqrt(images + _Z95**2))
