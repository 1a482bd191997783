"""The concepts that ship, concepts from TOML files, joints of concepts, and concepts from two phrases."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConceptError
from .concept import JOINT, Concept, ConceptClass
from .reading import did_you_mean, parse_toml, read_text

_LIBRARY = Path(__file__).parent / "library"
_TEXTS = ("name", "kind", "prompts", "unsafe_class", "subject", "source")
_LISTS = ("present", "absent", "parts", "look_alikes")
_TABLES = ("classes", "words", "target")


def concept_names() -> tuple[str, ...]:
    """The names of the concepts that ship, sorted."""
    return tuple(sorted(path.stem for path in _LIBRARY.glob("*.toml")))


def load_concept(name_or_path: str | Path) -> Concept:
    """A concept by its name ("gender"), by a TOML file, or a joint of those ("gender*skin").

    A file holds `name`, a table `[classes]` with a text or a list of texts per class, and optionally `kind`,
    `prompts`, `present`, `absent`, `unsafe_class`, `parts`, `look_alikes`, `subject`, `source`, a table `[words]` with
    the words by which a prompt names a class, and a table `[target]` with a share per class.

    Raises: ConceptError when there is no such concept, or the file is malformed (line and column are named).
    """
    text = str(name_or_path)
    if text in concept_names():
        return _read(_LIBRARY / f"{text}.toml")
    if text.endswith(".toml"):
        path = Path(text)
        if path.exists() or JOINT not in text:
            return _read(path)
    if JOINT in text:
        return join_concepts([load_concept(part) for part in text.split(JOINT)])
    raise ConceptError(
        f'unknown concept "{text}"; expected one of {", ".join(concept_names())}, a .toml file, or a joint such as '
        f'"gender{JOINT}skin"{did_you_mean(text, concept_names())}'
    )


def join_concepts(factors: Sequence[Concept]) -> Concept:
    """The joint of several attributes: its classes are all combinations, the first factor varying slowest.

    Its target is the product of the targets, or uniform where no factor has one; an image can be judged when
    no factor's `absent` text wins. `prompts` is kept where all factors share it.

    Raises: ConceptError for safety concepts, for a factor given twice, and for factors that no one picture shows.
    """
    name = JOINT.join(factor.name for factor in factors)
    if len(factors) < 2 or len({factor.name for factor in factors}) < len(factors):
        raise ConceptError(f'joint concept "{name}", expected two or more different concepts; remove the repeated one')
    if any(factor.kind != "attribute" for factor in factors):
        raise ConceptError(f'joint concept "{name}", expected attributes only; measure the safety concept by itself')
    absent = tuple(dict.fromkeys(text for factor in factors for text in factor.absent))
    present = tuple(dict.fromkeys(text for factor in factors for text in factor.present if text not in absent))
    if not present and any(factor.present for factor in factors):
        raise ConceptError(f'joint concept "{name}": no one picture shows all of them; measure them one by one')
    combinations = list(itertools.product(*(zip(factor.classes, factor.reference, strict=True) for factor in factors)))
    prompts = {factor.prompts for factor in factors}
    return Concept(
        name=name,
        classes=tuple(
            ConceptClass(
                name=JOINT.join(one.name for one, _ in combination),
                words=tuple(word for one, _ in combination for word in one.words),
                phrases=tuple(phrase for one, _ in combination for phrase in one.phrases),
            )
            for combination in combinations
        ),
        prompts=prompts.pop() if len(prompts) == 1 else None,
        target=None
        if all(factor.target is None for factor in factors)
        else tuple(math.prod(share for _, share in combination) for combination in combinations),
        present=present,
        absent=absent,
        source="; ".join(dict.fromkeys(factor.source for factor in factors if factor.source)),
    )


def concept_from_phrases(present: str, absent: str) -> Concept:
    """A concept with the classes "present" and "absent" from two texts.

    Its name is the first text in lower case with underscores, at most 48 characters of it.

    Raises: ConceptError when a text is empty or both are the same.
    """
    present, absent = present.strip(), absent.strip()
    if not present or not absent or present == absent:
        raise ConceptError(
            f'--present "{present}" and --absent "{absent}", expected two different texts; '
            "say what a picture with it and one without it shows"
        )
    name = re.sub(r"\W+", "_", present.casefold()).strip("_")[:48].strip("_") or "phrase"
    return Concept(
        name=name,
        classes=(ConceptClass(name="present", phrases=(present,)), ConceptClass(name="absent", phrases=(absent,))),
        # The two texts themselves say what can be judged; only a picture of nothing cannot.
        present=(present, absent),
        absent=("a blank picture", "a noisy picture"),
        source="two phrases given by the user",
    )


def _read(path: Path) -> Concept:
    data = parse_toml(read_text(path), path)
    _check(data, path)
    words = data.get("words", {})
    classes = tuple(
        ConceptClass(name=name, phrases=_texts(value), words=_texts(words.get(name, ())))
        for name, value in data.get("classes", {}).items()
    )
    fields: dict[str, Any] = {key: data[key] for key in _TEXTS if key in data}
    fields |= {key: _texts(data[key]) for key in _LISTS if key in data}
    try:
        if "target" in data:
            names = [one.name for one in classes]
            if set(data["target"]) != set(names):
                raise ConceptError(f"[target] names {', '.join(data['target'])}, expected {', '.join(names)}")
            fields["target"] = tuple(float(data["target"][name]) for name in names)
        concept = Concept(classes=classes, **fields)
        if JOINT in concept.name:
            raise ConceptError(f'concept name "{concept.name}"; use one without {JOINT}, which makes joints')
    except ConceptError as error:
        raise ConceptError(f"{path}: {error}") from error
    return concept


def _texts(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _check(data: dict[str, Any], path: Path) -> None:
    known = (*_TEXTS, *_LISTS, *_TABLES)
    for key, value in data.items():
        if key not in known:
            raise ConceptError(
                f'{path}: unknown key "{key}", expected {", ".join(known)}{did_you_mean(key, known)}; correct it'
            )
        if key in _TEXTS and not isinstance(value, str):
            raise ConceptError(f"{path}: {key} is {value!r}, expected a text in quotes; correct it")
        if key in _LISTS and not _is_texts(value):
            raise ConceptError(f"{path}: {key} is {value!r}, expected a list of texts; correct it")
        if key in _TABLES and not isinstance(value, dict):
            raise ConceptError(f"{path}: {key} is {value!r}, expected a table [{key}]; correct it")
    _check_tables(data, path)
    if "name" not in data:
        raise ConceptError(f'{path}: no name; add a line such as name = "hat"')


def _check_tables(data: dict[str, Any], path: Path) -> None:
    for name, value in data.get("classes", {}).items():
        if not _is_texts(value):
            raise ConceptError(f'{path}: class "{name}" is {value!r}, expected a text or a list of texts; correct it')
    for name, value in data.get("words", {}).items():
        if name not in data.get("classes", {}) or not _is_texts(value):
            raise ConceptError(f"{path}: words.{name} is {value!r}, expected a list of texts for a class; correct it")
    for name, value in data.get("target", {}).items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConceptError(f'{path}: the target of "{name}" is {value!r}, expected a number; correct it')


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))
