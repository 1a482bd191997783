"""The page, drawn with Gradio: components and events; what events do is in `handlers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from .check_handlers import CheckHandlers
from .check_page import build_check
from .fix_handlers import FixHandlers
from .fix_page import PRIVATE, build_fix
from .handlers import SLIDERS, Handlers
from .session import Session

STYLE = Path(__file__).parent / "studio.css"
_CLICKS = """
let last = null;
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  last = [button.dataset.act, button.dataset.number];
  trigger('select', {act: last[0], number: Number(last[1])});
});
watch('value', () => {
  if (!last) return;
  const [act, number] = last;
  const again = element.querySelector(`[data-act="${act}"][data-number="${number}"]`)
    || element.querySelector(`[data-number="${number}"]`);
  if (again) again.focus();
  last = null;
});
"""
"""Buttons inside images tell which one was pressed, and the keyboard stays where it was when they are drawn anew."""
_TABS_AT_WORK = 16


def build_page(handlers: Handlers) -> gr.Blocks:
    """The whole page of a model."""
    with gr.Blocks(title="Evenhand studio", analytics_enabled=False, fill_width=True) as page:
        session = gr.State(Session())  # of which every tab gets its own
        gr.Markdown(
            f"# Evenhand studio\nModel: {handlers.bench.source}. Classes are what a judge perceives, never who "
            "someone is."
        )
        with gr.Tab("Look"):
            _look(handlers, session)
        with gr.Tab("Fix") as fix:
            build_fix(FixHandlers(handlers.bench), session, fix, _CLICKS, _TABS_AT_WORK)
        with gr.Tab("Check") as check:
            build_check(CheckHandlers(handlers.bench), session, check, _CLICKS)
        with gr.Tab("Take away"):
            _take_away(handlers, session)
    return page


def theme() -> gr.themes.Base:
    """System fonts alone: nothing is fetched."""
    return gr.themes.Base(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def _look(handlers: Handlers, session: gr.State) -> None:
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            form = _form(handlers)
            targets = _targets(handlers)
            with gr.Row():
                seed = gr.Number(label="Seed", value=0, precision=0, minimum=0, min_width=100)
                images = gr.Number(label="Images", value=16, precision=0, minimum=1, min_width=100)
            with gr.Row():
                make = gr.Button("Make images", variant="primary", min_width=120)
                stop = gr.Button("Stop", min_width=80)
        with gr.Column(scale=3, min_width=300):
            said = gr.HTML(elem_id="said")
            shares = gr.HTML("Shares appear here with the first images.", elem_id="shares")
    pictures = gr.HTML("Images appear here as they are made.", js_on_load=_CLICKS, elem_id="pictures")
    shown, asked = [pictures, shares, said], [session, *form, targets, seed]
    make.click(handlers.make, [*asked, images], shown, concurrency_limit=_TABS_AT_WORK, **PRIVATE)
    form[0].submit(handlers.make, [*asked, images], shown, concurrency_limit=_TABS_AT_WORK, **PRIVATE)
    targets.submit(handlers.retarget, asked, shown, **PRIVATE)
    targets.blur(handlers.retarget, asked, shown, **PRIVATE)
    stop.click(handlers.stop, session, said, queue=False, **PRIVATE)

    def clicked(some: Session, event: gr.EventData) -> Any:
        return handlers.clicked(some, str(event.act), int(event.number))

    pictures.select(clicked, session, shown, queue=False, **PRIVATE)


def _form(handlers: Handlers) -> list[Any]:
    prompt = gr.Textbox(label="Prompt", value="a photo of a nurse", lines=1, elem_id="prompt")
    concepts = gr.CheckboxGroup(handlers.concepts(), value=["gender"], label="Concepts to look for")
    with gr.Accordion("A concept of your own, from two phrases", open=False):
        present = gr.Textbox(label="An image with it shows", placeholder="a photo of a person with a hat")
        absent = gr.Textbox(label="An image without it shows", placeholder="a photo of a person without a hat")
    return [prompt, concepts, present, absent]


def _targets(handlers: Handlers) -> gr.Textbox:
    """The target, typed or by sliders; returns the text, which holds."""
    with gr.Accordion("Target; equal shares unless you say otherwise", open=False):
        text = gr.Textbox(
            label="Wanted shares, a concept a line", placeholder="gender=female:0.5,male:0.5", lines=2, elem_id="target"
        )
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
    for one in sliders:
        one.release(slid, [concept, text, *sliders], text, **PRIVATE)
    return text


def _take_away(handlers: Handlers, session: gr.State) -> None:
    said = gr.HTML(elem_id="taken")
    show = gr.Button("Show what reproduces this page", variant="primary")
    line = gr.Textbox(label="Command line", lines=3, interactive=False, buttons=["copy"], elem_id="command")
    lines = gr.Textbox(label="Python", lines=18, interactive=False, buttons=["copy"], elem_id="python")
    report = gr.Button("Write the report of the run")
    file = gr.File(label="Report", interactive=False)
    show.click(handlers.take_away, session, [line, lines, said], **PRIVATE)
    save = gr.Button("Save what was fitted")
    policy = gr.Button("Write a policy for the server")
    text = gr.Textbox(label="Policy", lines=6, interactive=False, buttons=["copy"], elem_id="policy")
    save.click(handlers.saved, session, said, **PRIVATE)
    policy.click(handlers.policy, session, [text, said], **PRIVATE)
    report.click(handlers.report, session, [file, said], **PRIVATE)
