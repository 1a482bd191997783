"""The part of the page Fix about suggestions, drawn with Gradio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from .events import PRIVATE
from .session import Session
from .suggest_handlers import SuggestHandlers
from .suggesting import FEWEST, MOST

_IMAGES = 16
Take = tuple[gr.Button, Callable[[Session], str], gr.HTML]


def build_suggest(handlers: SuggestHandlers, session: gr.State, tab: gr.Tab, at_work: int) -> Take:
    """Inside the page Fix: what to try it for, the sentence, and a button that takes it.

    Args:
        handlers: of the part's events.
        session: of the browser tab.
        tab: whose opening fills the list of concepts.
        at_work: tabs that may make images at once.

    Returns: the button that takes the suggestion, what it does to a session, and where it says so.
    """
    with gr.Accordion("Suggest an intervention, by a small trial", open=False):
        with gr.Row():
            concept = gr.Dropdown([], label="For the concept", value=None, elem_id="suggest-for", min_width=140)
            images = gr.Number(
                label="Images of each", value=_IMAGES, precision=0, minimum=FEWEST, maximum=MOST, min_width=120
            )
        with gr.Row():
            go = gr.Button("Suggest", variant="primary", min_width=100)
            stop = gr.Button("Stop the trial", min_width=100)
            take = gr.Button("Take the suggestion", min_width=140)
        said = gr.HTML(elem_id="suggest-said")
        found = gr.HTML(elem_id="suggestion")

    def opened(some: Session) -> Any:
        known = handlers.concepts(some)
        return gr.update(choices=known, value=known[0] if known else None)

    tab.select(opened, session, concept, **PRIVATE)
    go.click(handlers.suggest, [session, concept, images], [found, said], concurrency_limit=at_work, **PRIVATE)
    stop.click(lambda some: some.stop.set(), session, None, queue=False, **PRIVATE)
    return take, handlers.take, said
