"""A page as a checked tree, by the parser of the standard library."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

VOID = {"br", "img", "input", "meta"}


@dataclasses.dataclass
class Node:
    """One element; `text` holds what stands directly inside of it."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Node] = dataclasses.field(default_factory=list)
    texts: list[str] = dataclasses.field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, tag: str, **attributes: str) -> list[Node]:
        """Elements by tag and attributes; `class_` matches one of the classes."""
        return [node for node in self.walk() if node.tag == tag and all(_has(node, *one) for one in attributes.items())]

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        return re.sub(r"\s+", " ", " ".join(text for node in self.walk() for text in node.texts)).strip()

    @property
    def classes(self) -> list[str]:
        return (self.attributes.get("class") or "").split()


def _has(node: Node, name: str, value: str) -> bool:
    return value in node.classes if name == "class_" else node.attributes.get(name) == value


class _Parser(HTMLParser):
    def __init__(self) -> None:
        HTMLParser.__init__(self)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        assert len(node.attributes) == len(attrs), f"an attribute of <{tag}> stands twice"
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].texts.append(data)


def parse(page: str) -> Node:
    """The tree of a page; every element must be closed in its turn."""
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert parser.open == [parser.root], f"<{parser.open[-1].tag}> is never closed"
    return parser.root


def embedded(page: str) -> dict[str, Any]:
    """The page's JSON data block."""
    (block,) = [node for node in parse(page).find("script") if node.attributes.get("id") == "data"]
    return json.loads("".join(block.texts))
