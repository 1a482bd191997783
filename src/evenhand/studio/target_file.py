"""A target from a CSV file, such as shares or counts of a census."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from fractions import Fraction

from ..concepts.concept import Concept
from ..concepts.reading import did_you_mean
from ..errors import InputError

_CONCEPT, _CLASS, _SHARE = "concept", "class", "share"
_EXPECTED = f"expected the columns {_CLASS},{_SHARE}, and {_CONCEPT} where it holds several"
LARGEST_FILE = 100_000
"""Characters of a file of targets."""


def targets_of_csv(text: str, concepts: Sequence[Concept]) -> tuple[str, ...]:
    """The targets of a file, as `--target` takes them, exact.

    The file has a header and the columns `class` and `share`; `concept` may be left out where all its classes are those
    of one concept. Shares may be counts or percentages: only their proportion counts. A class that is not named has 0.

    Args:
        text: of the file.
        concepts: what is looked at.

    Raises: InputError that names the line.
    """
    if len(text) > LARGEST_FILE:
        raise InputError(f"the file of targets has {len(text):,} characters: expected {LARGEST_FILE:,} at most")
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), skipinitialspace=True)
    names = [(name or "").strip().lower() for name in reader.fieldnames or ()]
    if _CLASS not in names or _SHARE not in names:
        raise InputError(f"the file of targets has the columns {', '.join(names) or 'of no header'}: {_EXPECTED}")
    reader.fieldnames = names
    known = {one.name: one for one in concepts if one.kind == "attribute"}
    found: dict[str, dict[str, Fraction]] = {}
    for line, row in enumerate(reader, 2):
        cells = {name: (row.get(name) or "").strip() for name in (_CONCEPT, _CLASS, _SHARE)}
        if not any(cells.values()):
            continue
        concept = _concept_of(cells, known, line)
        shares = found.setdefault(concept.name, {})
        if cells[_CLASS] in shares:
            raise InputError(f"line {line}: {concept.name} {cells[_CLASS]} is given twice; keep one")
        shares[cells[_CLASS]] = _number(cells[_SHARE], line)
    if not found:
        raise InputError(f"the file of targets has no line behind its header: {_EXPECTED}")
    return tuple(_text(known[name], shares) for name, shares in found.items())


def _concept_of(cells: dict[str, str], known: dict[str, Concept], line: int) -> Concept:
    name, label = cells[_CONCEPT], cells[_CLASS]
    if name and name not in known:
        raise InputError(
            f"line {line}: {name!r} is not looked at{did_you_mean(name, list(known))}; tick it under the concepts"
        )
    fits = [one for one in known.values() if label in one.class_names and name in ("", one.name)]
    if not fits:
        classes = [label for one in known.values() if name in ("", one.name) for label in one.class_names]
        raise InputError(
            f"line {line}: {label!r} is no class of what is looked at{did_you_mean(label, classes)}; "
            f"expected {', '.join(classes) or 'a concept with classes under the concepts'}"
        )
    if len(fits) > 1:
        raise InputError(
            f"line {line}: {label!r} is a class of {' and of '.join(one.name for one in fits)}; add a column {_CONCEPT}"
        )
    return fits[0]


def _number(text: str, line: int) -> Fraction:
    try:
        value = Fraction(text.removesuffix("%").strip())
    except (ValueError, ZeroDivisionError):
        raise InputError(f"line {line}: share {text!r}, expected a number such as 0.5, 50 % or a count") from None
    if value < 0:
        raise InputError(f"line {line}: share {text!r}, expected 0 or more")
    return value


def _text(concept: Concept, shares: dict[str, Fraction]) -> str:
    total = sum(shares.values(), Fraction(0))
    if total == 0:
        raise InputError(f"target of {concept.name}: every share is 0; give one more")
    parts = [f"{name}:{shares.get(name, Fraction(0)) / total}" for name in concept.class_names]
    return f"{concept.name}={','.join(parts)}"
