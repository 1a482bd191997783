"""The part of the page Look about groups, drawn with Gradio."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .depict_handlers import DepictHandlers
from .events import PRIVATE
from .session import Session


def build_depict(
    handlers: DepictHandlers, session: gr.State, form: tuple[gr.Textbox, gr.Number], clicks: str, at_work: int
) -> None:
    """Inside the page Look: which groups and attributes, the differences, and the images seed by seed.

    Args:
        handlers: of the part's events.
        session: of the browser tab.
        form: the prompt and the seed of the page.
        clicks: the script by which buttons inside images tell which one was pressed.
        at_work: tabs that may make images at once.
    """
    with gr.Accordion("How groups are depicted: the prompt names each group in turn", open=False):
        with gr.Row():
            group = gr.Dropdown(
                handlers.groups(), label="Groups to name", value=None, elem_id="group", scale=1, min_width=140
            )
            attributes = gr.Textbox(
                label="Attributes: concepts, or words of your own",
                placeholder="glasses, a strong leader",
                elem_id="attributes",
                scale=3,
                min_width=240,
            )
            images = gr.Number(label="Images of each group", value=8, precision=0, minimum=2, scale=1, min_width=140)
        with gr.Row():
            go = gr.Button("Compare the groups", variant="primary", min_width=160)
            stop = gr.Button("Stop comparing", min_width=120)
        said = gr.HTML(elem_id="depict-said")
        table = gr.HTML("Differences between the groups appear here.", elem_id="association")
        pictures = gr.HTML(
            "Images of the groups appear here, from the same seeds.", js_on_load=clicks, elem_id="groups"
        )
    shown = [pictures, table, said]
    asked = [session, *form, group, attributes, images]
    go.click(handlers.compare, asked, shown, concurrency_limit=at_work, **PRIVATE)
    stop.click(lambda some: some.stop.set(), session, None, queue=False, **PRIVATE)

    def clicked(some: Session, event: gr.EventData) -> Any:
        return handlers.clicked(some, str(event.act), int(event.number))

    pictures.select(clicked, session, shown, queue=False, **PRIVATE)
