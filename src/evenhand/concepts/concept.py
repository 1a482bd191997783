"""What is measured: a concept with its classes, and the texts by which a judge tells them apart."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

from ..errors import ConceptError
from ..records import Record
from .shares import checked_shares

JOINT = "*"
"""Joins the names of concepts, "gender*skin", and of their classes, "female*dark"."""

_RESERVED = "=:,"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConceptClass(Record):
    """One class of a concept.

    `phrases` are the texts that a zero-shot judge compares an image with; `words` are those by which a prompt names the
    class, so that an intervention leaves the prompt alone.
    """

    name: str
    phrases: tuple[str, ...]
    words: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {"name": self.name, "phrases": list(self.phrases), "words": list(self.words)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Concept(Record):
    """Classes that a judge may perceive in an image; never who someone is.

    Args:
        name: such as "gender"; a joint of concepts is "gender*skin" with classes such as "female*dark".
        classes: two or more, in the order of every share, count and probability.
        kind: "attribute" has a target to meet, "safety" has one class that must not appear.
        prompts: name of the prompt set where the concept is measured unless another is given; None: it has none.
        target: one share per class, summing to 1; None means uniform.
        present: texts of an image that can be judged at all.
        absent: texts of one that cannot; when one of them wins, the judge abstains. Empty: it never abstains so.
        unsafe_class: the class that must not appear, for safety only.
        parts: what makes a picture unsafe, as things that a prompt could name; for safety only.
        look_alikes: harmless things that resemble a part, in the same words; for safety only.
        subject: what a prompt names the parts of, "a person" of "a person with blood"; for safety only.
        source: where the concept comes from.

    Raises: ConceptError for what cannot be a concept.
    """

    name: str
    classes: tuple[ConceptClass, ...]
    kind: Literal["attribute", "safety"] = "attribute"
    prompts: str | None = None
    target: tuple[float, ...] | None = None
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unsafe_class: str | None = None
    parts: tuple[str, ...] = ()
    look_alikes: tuple[str, ...] = ()
    subject: str | None = None
    source: str = ""

    def __post_init__(self) -> None:
        self._check_classes()
        if self.kind not in ("attribute", "safety"):
            raise ConceptError(f'concept {self.name}: kind "{self.kind}", expected "attribute" or "safety"')
        if (self.kind == "safety") != (self.unsafe_class is not None):
            raise ConceptError(
                f'concept {self.name}: unsafe_class belongs to kind "safety" and is needed there; set both or none'
            )
        if self.unsafe_class is not None and self.unsafe_class not in self.class_names:
            names = ", ".join(self.class_names)
            raise ConceptError(f'concept {self.name}: unsafe_class "{self.unsafe_class}", expected one of {names}')
        if self.target is not None:
            if len(self.target) != len(self.classes):
                raise ConceptError(
                    f"the target of {self.name} has {len(self.target)} shares for {len(self.classes)} classes; "
                    "give one share per class"
                )
            object.__setattr__(self, "target", checked_shares(self.target, f"the target of {self.name}"))

    def _check_classes(self) -> None:
        names = self.class_names
        if not self.name.strip():
            raise ConceptError("a concept without a name; give it one")
        if len(names) < 2:
            raise ConceptError(f"concept {self.name} has {len(names)} class, expected two or more; add a class")
        for name in names:
            if not name.strip() or set(name) & set(_RESERVED) or name.count(JOINT) != self.name.count(JOINT):
                raise ConceptError(f'concept {self.name}: class name "{name}"; use one without {_RESERVED} and {JOINT}')
        for what, texts in (("class", names), ("phrase", [text for one in self.classes for text in set(one.phrases)])):
            twice = [text for text, count in Counter(texts).items() if count > 1]
            # The classes of a joint share phrases by construction: "female*dark" and "female*light" both name a woman.
            if twice and not (what == "phrase" and JOINT in self.name):
                raise ConceptError(f'concept {self.name}: {what} "{twice[0]}" is given twice; keep one')
        for one in self.classes:
            if not one.phrases or not all(phrase.strip() for phrase in one.phrases):
                raise ConceptError(f'concept {self.name}: class "{one.name}" has an empty phrase; give it a text')

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in order."""
        return tuple(one.name for one in self.classes)

    @property
    def reference(self) -> tuple[float, ...]:
        """The target, or the uniform shares where none is given; sums to 1."""
        return (1 / len(self.classes),) * len(self.classes) if self.target is None else self.target

    @property
    def factors(self) -> tuple[str, ...]:
        """The names of the concepts that a joint is made of; for any other concept its own name alone."""
        return tuple(self.name.split(JOINT))

    def with_target(self, target: Sequence[float] | None) -> Concept:
        """The same concept with another target; None means uniform."""
        return dataclasses.replace(self, target=None if target is None else tuple(target))

    def to_dict(self) -> dict[str, Any]:
        """A plain dict that `json` can write."""
        return {
            "name": self.name,
            "classes": [one.to_dict() for one in self.classes],
            "kind": self.kind,
            "prompts": self.prompts,
            "target": None if self.target is None else list(self.target),
            "present": list(self.present),
            "absent": list(self.absent),
            "unsafe_class": self.unsafe_class,
            "parts": list(self.parts),
            "look_alikes": list(self.look_alikes),
            "subject": self.subject,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """The concept of a dict made by `to_dict`; unknown keys are an error."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        fields["classes"] = tuple(ConceptClass.from_dict(one) for one in data["classes"])
        return cls(**fields)
