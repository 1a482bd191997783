"""Puts the page together: one HTML file that needs nothing else."""

from __future__ import annotations

from pathlib import Path

from ..files import write_bytes
from ..records import Estimate
from .attacks import attack_section
from .compared import comparison_section
from .data import RunView, read_run
from .depiction import depiction_section
from .judges import judges_section
from .markup import data_block, el
from .measured import cost, measured, warnings
from .page import document
from .panels import Panel, make_panels, panels_json, pictures_json
from .pictures import Place, choose_embedded, grids
from .sections import concept_section, head, other_section
from .text import subject
from .thumbnails import data_uri

IMAGES_PER_ROW = 60


def write_report(run: Path, *, images_per_row: int = IMAGES_PER_ROW) -> Path:
    """Write `report.html` into a run directory and return its path.

    The page holds at most `images_per_row` pictures of each prompt row; the panel behind a number lists the
    others too and shows them while the page lies in the run directory. Equal runs give equal bytes.

    Raises:
        RunDirectoryError: `run` is no finished run, or a file of it is malformed.
        StorageError: the page cannot be written; an older page stays.
    """
    run = Path(run)
    page = render_report(read_run(run), images_per_row=images_per_row)
    target = run / "report.html"
    write_bytes(target, page.encode())
    return target


def render_report(view: RunView, *, images_per_row: int = IMAGES_PER_ROW) -> str:
    """The page as text."""
    images = {n: data_uri(view.path, file) for n, file in choose_embedded(view, images_per_row).items()}
    panels = make_panels(view)
    body = [
        head(view, warnings(view)),
        comparison_section(view, images, panels),
        attack_section(view, panels),
        *(concept_section(view, concept, panels) for concept in view.reading.concepts),
        depiction_section(view, panels),
        other_section(view, panels),
        judges_section(view),
        grids(view, images, _places(view, panels)),
        measured(view),
        cost(view),
    ]
    data = {"pictures": pictures_json(view, images), "classes": {c.name: c.classes for c in view.reading.concepts}}
    data |= panels_json(panels.values())
    title = f"Evenhand report: {subject(view.reading, view.reading.arms[0])}"
    return document(title, el("main", None, *body), data=data_block("data", data))


def _places(view: RunView, panels: dict[Estimate, Panel]) -> dict[Place | None, list[str]]:
    """Where each panel's link leads without scripts: the grid of its row, or the top of the pictures."""
    places: dict[Place | None, list[str]] = {}
    for estimate, panel in panels.items():
        first = next((group.pictures[0] for group in panel.groups if group.pictures), None)
        place = None
        if estimate.prompt is not None and first is not None:
            picture = view.pictures[first]
            place = (picture.arm, picture.prompt_set, picture.row)
        places.setdefault(place, []).append(panel.identifier)
    return places
