"""What a person looks at: one prompt, some concepts, and the images that are made of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ..concepts.concept import Concept
from ..errors import InputError
from ..files import write_bytes
from ..records import content_hash
from ..verbs.config import AuditConfig, Effort, ImageOptions, ModelOptions, Question
from ..verbs.series import Series, series_of

FOLDER = Path("runs/studio")
"""Where the studio keeps prompts, runs and what is taken away, unless another folder is named."""
MOST_IMAGES = 1000
"""Of one prompt in one tab: they are held in memory."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """A prompt and what is read in its images, checked when it is made.

    Args:
        source: the model.
        prompt: what the images should show; line breaks become spaces, since a line is a prompt of its own.
        concepts: names or .toml files.
        phrases: a concept from two texts, (present, absent); None for none.
        targets: as typed, "gender=female:0.5,male:0.5".
        seed: of the run, 0 or more.
        judge: name of the judge, None for the model's own.
        image, model: how images are made and how the model is loaded.
        folder: where the prompt file lies.

    Raises: InputError (or a subclass) for what cannot be used.
    """

    source: str
    prompt: str
    concepts: tuple[str, ...]
    phrases: tuple[str, str] | None = None
    targets: tuple[str, ...] = ()
    seed: int = 0
    judge: str | None = None
    image: ImageOptions = dataclasses.field(default_factory=ImageOptions)
    model: ModelOptions = dataclasses.field(default_factory=ModelOptions)
    folder: Path = FOLDER

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", " ".join(self.prompt.split()))
        if not self.prompt:
            raise InputError("the prompt is empty: type what the images should show, such as: a photo of a nurse")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: expected a whole number of 0 or more")
        if not self.concepts and self.phrases is None:
            raise InputError("nothing to look for: choose a concept, or type two phrases that make one")

    @property
    def prompts(self) -> Path:
        """The file that holds the prompt, for `--prompts`."""
        return self.folder / f"prompt-{content_hash(self.prompt)[:8]}.txt"

    def question(self) -> Question:
        """As a verb is asked it."""
        return Question(
            concepts=self.concepts,
            phrases=self.phrases,
            targets=self.targets,
            prompts=str(self.prompts),
            benign=False,
        )

    def config(self, images: int, *, any_time: bool = True) -> AuditConfig:
        """The audit that makes these images and states these numbers.

        Args:
            images: how many.
            any_time: whether its intervals hold whenever one stops, as those on the page.
        """
        return AuditConfig(
            source=self.source,
            question=self.question(),
            effort=Effort(images_per_prompt=images, any_time=any_time, seed=self.seed),
            image=self.image,
            model=self.model,
            judge=self.judge,
        )

    def series(self, images: int) -> Series:
        """The images 0 to `images` - 1 as requests; writes the prompt file.

        Raises: InputError for more than `MOST_IMAGES`, ConceptError for a concept or target that cannot be used.
        """
        if images > MOST_IMAGES:
            raise InputError(
                f"{images} images: the studio holds at most {MOST_IMAGES} of a prompt; use `evenhand audit`"
            )
        write_bytes(self.prompts, f"{self.prompt}\n".encode())
        effort = Effort(images_per_prompt=images, seed=self.seed)
        (one,) = series_of(self.question(), effort, {}, self.image.negative_prompt)
        return one


def target_text(concept: Concept, weights: list[float]) -> str:
    """The target of sliders as `--target` takes it, exact fractions of whole weights.

    Args:
        concept: whose classes the weights belong to, in order.
        weights: whole numbers of 0 or more; only their proportion counts.

    Raises: InputError where all are 0 or one is negative.
    """
    whole = [round(one) for one in weights]
    total = sum(whole)
    if total <= 0 or min(whole) < 0:
        raise InputError(f"target of {concept.name}: every share is 0; move one slider up")
    parts = [f"{name}:{one}/{total}" for name, one in zip(concept.class_names, whole, strict=True)]
    return f"{concept.name}={','.join(parts)}"
