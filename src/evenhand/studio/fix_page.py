"""The page Fix, drawn with Gradio."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .events import PRIVATE
from .fix_handlers import FixHandlers
from .fixing import STRONGEST
from .session import Session
from .suggest_page import Take


def build_fix(handlers: FixHandlers, session: gr.State, tab: gr.Tab, take: Take, clicks: str, at_work: int) -> None:
    """Inside the tab: the stack on the left, what it changes on the right, pairs below.

    Args:
        handlers: of the page's events.
        session: of the browser tab.
        tab: whose opening fills the list.
        take: the button that takes a suggestion.
        clicks: the script by which buttons inside images tell which one was pressed.
        at_work: tabs that may make images at once; they take turns batch by batch.
    """
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            known = gr.Dropdown([], label="Add an intervention", allow_custom_value=True, elem_id="spec", value=None)
            add = gr.Button("Add to the stack")
            stack = gr.Radio([], label="Stack, in order; choose one to change it", type="index", elem_id="stack")
            strength = gr.Slider(0, STRONGEST, 1, step=0.05, label="Strength; 1 as calibrated, 0 is off")
            with gr.Row():
                up, down, remove = (gr.Button(text, min_width=80) for text in ("Earlier", "Later", "Remove"))
            with gr.Row():
                go = gr.Button("Make the same images with the stack", variant="primary")
                stop = gr.Button("Stop", min_width=80)
        with gr.Column(scale=3, min_width=300):
            said = gr.HTML(elem_id="fix-said")
            table = gr.HTML(elem_id="changes")
    pictures = gr.HTML("Pairs appear here.", js_on_load=clicks, elem_id="pairs")
    shown = [pictures, table, said]

    def listed(some: Session, chosen: int | None) -> Any:
        last = len(some.specs) - 1
        value = None if last < 0 else some.specs[min(last if chosen is None else max(chosen, 0), last)]
        return gr.update(choices=list(some.specs), value=value)

    def added(some: Session, text: str | None) -> Any:
        said = handlers.add(some, text)
        return said, listed(some, len(some.specs)), handlers.strength(some, len(some.specs) - 1)

    def removed(some: Session, place: int | None) -> Any:
        said = handlers.remove(some, place)
        return said, listed(some, None), handlers.strength(some, len(some.specs) - 1)

    def moved(some: Session, place: int | None, by: int) -> Any:
        return handlers.move(some, place, by), listed(some, None if place is None else place + by)

    def scaled(some: Session, place: int | None, value: float) -> Any:
        return handlers.scale(some, place, value), listed(some, place)

    def taken(some: Session) -> Any:
        told = take[1](some)
        return told, listed(some, len(some.specs)), handlers.strength(some, len(some.specs) - 1)

    tab.select(lambda some: gr.update(choices=handlers.suggestions(some)), session, known, **PRIVATE)
    take[0].click(taken, session, [take[2], stack, strength], **PRIVATE)
    add.click(added, [session, known], [said, stack, strength], **PRIVATE)
    remove.click(removed, [session, stack], [said, stack, strength], **PRIVATE)
    up.click(lambda some, place: moved(some, place, -1), [session, stack], [said, stack], **PRIVATE)
    down.click(lambda some, place: moved(some, place, 1), [session, stack], [said, stack], **PRIVATE)
    stack.input(handlers.strength, [session, stack], strength, **PRIVATE)
    strength.release(scaled, [session, stack, strength], [said, stack], **PRIVATE)
    go.click(handlers.apply, session, shown, concurrency_limit=at_work, **PRIVATE)
    _answer_clicks(handlers, session, stop, shown)


def _answer_clicks(handlers: FixHandlers, session: gr.State, stop: gr.Button, shown: list[gr.HTML]) -> None:
    """What answers at once, beside what is at work: the stop button, and those inside the pairs, first in `shown`."""
    stop.click(lambda some: some.stop.set(), session, None, queue=False, **PRIVATE)

    def clicked(some: Session, event: gr.EventData) -> Any:
        return handlers.clicked(some, str(event.act), int(event.number))

    shown[0].select(clicked, session, shown, queue=False, **PRIVATE)
