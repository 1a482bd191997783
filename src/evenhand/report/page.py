"""An HTML page that needs nothing else: its style inside, no script but its own, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from .markup import Markup, el, join


def document(title: str, main: Markup, *, data: Markup | None = None) -> str:
    """The page as text.

    Args:
        title: of the window.
        main: its content.
        data: the block that the page's script reads; None for a page without a script.
    """
    style = asset("style.css")
    script = None if data is None else asset("script.js")
    scripts = "'none'" if script is None else digest(script)
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; style-src {digest(style)}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )
    top = el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"http-equiv": "Content-Security-Policy", "content": policy}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("title", None, title),
        el("style", None, style),
    )
    below = () if script is None else (el("dialog", {"id": "panel", "aria-labelledby": "panel-title"}), data)
    body = el("body", None, main, *below, None if script is None else el("script", None, script))
    return join([Markup("<!doctype html>\n"), el("html", {"lang": "en"}, top, body), Markup("\n")])


def asset(name: str) -> Markup:
    """A file of the report's style."""
    return Markup(resources.files("evenhand.report").joinpath(name).read_text(encoding="utf-8"))


def digest(text: str) -> str:
    """How a content security policy names a text that it allows."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
