"""The target of the page Look, drawn with Gradio: typed, by sliders, or from a file."""

from __future__ import annotations

from typing import Any

import gradio as gr

from .events import PRIVATE
from .handlers import SLIDERS, Handlers


def build_targets(handlers: Handlers, form: list[Any]) -> tuple[gr.Textbox, list[Any]]:
    """The text holds; sliders and files write into it.

    Args:
        handlers: of the page's events.
        form: prompt, concepts, and the two phrases of a concept of one's own.

    Returns: the text, and the events that write into it.
    """
    with gr.Accordion("Target; equal shares unless you say otherwise", open=False):
        text = gr.Textbox(
            label="Wanted shares, a concept a line", placeholder="gender=female:0.5,male:0.5", lines=2, elem_id="target"
        )
        file = gr.UploadButton("From a CSV with the columns class,share", file_types=[".csv"], elem_id="target-file")
        said = gr.HTML(elem_id="target-said")
        concept = gr.Dropdown(
            [name for name in handlers.concepts() if handlers.sliders(name)], label="Or move sliders for", value=None
        )
        sliders = [
            gr.Slider(0, 100, 50, step=1, label=f"Share {k + 1}", visible=False, interactive=True)
            for k in range(SLIDERS)
        ]

    def choose(name: str | None) -> list[Any]:
        classes = handlers.sliders(name)
        return [
            gr.update(visible=k < len(classes), label=classes[k] if k < len(classes) else "", value=50)
            for k in range(SLIDERS)
        ]

    def slid(name: str | None, typed: str, *weights: float) -> str:
        try:
            return handlers.slid(name, typed, list(weights))
        except ValueError:
            return typed

    concept.input(choose, concept, sliders, **PRIVATE)
    moved = [one.release(slid, [concept, text, *sliders], text, **PRIVATE) for one in sliders]
    read = file.upload(handlers.target_file, [file, *form[1:], text], [text, said], **PRIVATE)
    return text, [*moved, read]
