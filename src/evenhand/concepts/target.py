"""Targets as the user types them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..errors import ConceptError
from .concept import Concept
from .reading import did_you_mean
from .shares import checked_shares


def parse_target(text: str, concepts: Sequence[Concept]) -> tuple[str, tuple[float, ...]]:
    """The concept's name and one share per class, in the concept's order, of "gender=female:0.5,male:0.5".

    A share is a decimal number or a fraction such as 1/3. Every class is named, 0 is allowed.

    Raises: ConceptError for an unknown concept or class, a class that is missing or named twice, a share that
        is no number from 0 to 1, and shares that do not sum to 1 (to 1e-6).
    """
    name, sign, rest = text.partition("=")
    name = name.strip()
    if not sign:
        raise ConceptError(f'target "{text}", expected the form "gender=female:0.5,male:0.5"')
    names = [concept.name for concept in concepts]
    if name not in names:
        raise ConceptError(
            f'target of "{name}", expected a measured concept ({", ".join(names) or "none"})'
            f"{did_you_mean(name, names)}; add it with --concept"
        )
    concept = concepts[names.index(name)]
    shares: dict[str, float] = {}
    for part in rest.split(","):
        label, sign, number = (piece.strip() for piece in part.rpartition(":"))
        if not sign:
            raise ConceptError(f'target of {name}: "{part.strip()}", expected class:share such as female:0.5')
        if label not in concept.class_names:
            raise ConceptError(
                f'target of {name}: unknown class "{label}", expected {", ".join(concept.class_names)}'
                f"{did_you_mean(label, concept.class_names)}"
            )
        if label in shares:
            raise ConceptError(f'target of {name}: class "{label}" is given twice; keep one')
        shares[label] = _number(number, name)
    missing = [label for label in concept.class_names if label not in shares]
    if missing:
        raise ConceptError(f'target of {name}: no share for "{missing[0]}"; give every class one (0 is allowed)')
    return name, checked_shares([shares[label] for label in concept.class_names], f"target of {name}")


def _number(text: str, name: str) -> float:
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise ConceptError(f'target of {name}: share "{text}", expected a number such as 0.5 or 1/3') from error
