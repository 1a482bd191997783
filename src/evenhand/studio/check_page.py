"""The page Check, drawn with Gradio."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ..metrics.prediction_powered import FEWEST_LABELS
from ..verbs.labels import NONE
from .check_handlers import CheckHandlers
from .events import PRIVATE
from .session import Session

_MOST_CLASSES = 10


def build_check(handlers: CheckHandlers, session: gr.State, tab: gr.Tab, clicks: str) -> None:
    """Inside the tab: what is drawn, the image that is asked about, and a button for each class.

    Args:
        handlers: of the page's events.
        session: of the browser tab.
        tab: whose opening fills the list of concepts.
        clicks: the script by which buttons inside images tell which one was pressed.
    """
    with gr.Row():
        concept = gr.Dropdown([], label="Concept to check", elem_id="check-concept", value=None)
        images = gr.Number(label="Images to label", value=20, precision=0, minimum=FEWEST_LABELS)
        draw = gr.Button("Draw a queue", variant="primary")
    said = gr.HTML(elem_id="check-said")
    picture = gr.HTML("Draw a queue: images then come one by one.", js_on_load=clicks, elem_id="asked")
    with gr.Row():
        labels = [gr.Button("", visible=False, min_width=100) for _ in range(_MOST_CLASSES)]
    with gr.Row():
        none = gr.Button("None of these", visible=False, min_width=120)
        back = gr.Button("Take the last label back", visible=False, min_width=120)
    store = gr.Button("Store the labels and their report")
    line = gr.Textbox(label="Command line", interactive=False, buttons=["copy"], elem_id="check-command", lines=2)
    shown = [picture, said]

    def names(some: Session) -> list[str]:
        return [] if some.check is None else list(some.check.concept.class_names)[:_MOST_CLASSES]

    def drawn(some: Session, name: str | None, wanted: float | None) -> list[Any]:
        first = handlers.begin(some, name, wanted)
        known = names(some)
        buttons = [
            gr.update(visible=k < len(known), value=known[k] if k < len(known) else "") for k in range(_MOST_CLASSES)
        ]
        return [*first, *buttons, gr.update(visible=bool(known)), gr.update(visible=bool(known))]

    def pressed(some: Session, place: int) -> Any:
        known = names(some)
        return handlers.answer(some, known[place] if place < len(known) else NONE)

    def opened(some: Session) -> Any:
        known = handlers.choices(some)
        return gr.update(choices=known, value=known[0] if known else None)

    tab.select(opened, session, concept, **PRIVATE)
    draw.click(drawn, [session, concept, images], [*shown, *labels, none, back], **PRIVATE)
    for place, button in enumerate(labels):
        button.click(lambda some, place=place: pressed(some, place), session, shown, **PRIVATE)
    none.click(lambda some: handlers.answer(some, NONE), session, shown, **PRIVATE)
    back.click(handlers.back, session, shown, **PRIVATE)
    store.click(handlers.sheet, session, [line, said], **PRIVATE)

    def clicked(some: Session, event: gr.EventData) -> Any:
        return handlers.show(some, int(event.number))

    picture.select(clicked, session, shown, queue=False, **PRIVATE)
