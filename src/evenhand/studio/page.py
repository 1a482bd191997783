"""The page, drawn with Gradio: components and events; what events do is in `handlers`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from .check_handlers import CheckHandlers
from .check_page import build_check
from .depict_handlers import DepictHandlers
from .depict_page import build_depict
from .events import PRIVATE
from .fix_handlers import FixHandlers
from .fix_page import build_fix
from .handlers import Handlers
from .session import Session
from .suggest_handlers import SuggestHandlers
from .suggest_page import build_suggest
from .target_page import build_targets

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
            take = build_suggest(SuggestHandlers(handlers.bench), session, fix, _TABS_AT_WORK)
            build_fix(FixHandlers(handlers.bench), session, fix, take, _CLICKS, _TABS_AT_WORK)
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
            targets, written = build_targets(handlers, form)
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
    build_depict(DepictHandlers(handlers), session, (form[0], seed), _CLICKS, _TABS_AT_WORK)
    shown, asked = [pictures, shares, said], [session, *form, targets, seed]
    make.click(handlers.make, [*asked, images], shown, concurrency_limit=_TABS_AT_WORK, **PRIVATE)
    form[0].submit(handlers.make, [*asked, images], shown, concurrency_limit=_TABS_AT_WORK, **PRIVATE)
    targets.submit(handlers.retarget, asked, shown, **PRIVATE)
    targets.blur(handlers.retarget, asked, shown, **PRIVATE)
    for one in written:
        one.then(handlers.retarget, asked, shown, **PRIVATE)
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


def _take_away(handlers: Handlers, session: gr.State) -> None:
    said = gr.HTML(elem_id="taken")
    show = gr.Button("Show what reproduces this page", variant="primary")
    line = gr.Textbox(label="Command line", lines=3, interactive=False, buttons=["copy"], elem_id="command")
    lines = gr.Textbox(label="Python", lines=18, interactive=False, buttons=["copy"], elem_id="python")
    report = gr.Button("Write the report of the run")
    file = gr.File(label="Report", interactive=False, visible=False)
    show.click(handlers.take_away, session, [line, lines, said], **PRIVATE)
    save = gr.Button("Save what was fitted")
    policy = gr.Button("Write a policy for the server")
    text = gr.Textbox(label="Policy", lines=6, interactive=False, buttons=["copy"], elem_id="policy")
    save.click(handlers.saved, session, said, **PRIVATE)
    policy.click(handlers.policy, session, [text, said], **PRIVATE)

    def reported(some: Session) -> Any:
        path, told = handlers.report(some)
        return gr.update(value=path, visible=path is not None), told

    report.click(reported, session, [file, said], **PRIVATE)
