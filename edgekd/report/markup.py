"""Elements of a page. Any text they are given, such as a run's or a file's name, is escaped by the serialiser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree

__all__ = ["Child", "Element", "page", "quiet", "tag"]

Element = ElementTree.Element
Child: TypeAlias = "Element | str | float | Iterable[Child] | None"

_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_RAW = ("script", "style")  # their text is not escaped in HTML: nothing from outside goes into them


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Element:
    """An element. `class_` is the attribute class, other underscores are hyphens; one that is None is left out."""
    if name in _RAW and any(not isinstance(child, str) or "</" in child for child in children):
        raise ValueError(f"<{name}> takes one fixed text")
    made = ElementTree.Element(
        name,
        {key.rstrip("_").replace("_", "-"): _text(value) for key, value in attributes.items() if value is not None},
    )
    _append(made, children)
    return made


def quiet(*children: Child) -> Element:
    """A paragraph in a fainter colour: a remark, or what is missing."""
    return tag("p", *children, class_="quiet")


def page(root: Element) -> str:
    """The HTML document."""
    return "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"


def _append(parent: Element, children: Iterable[Child]) -> None:
    for child in children:
        if child is None:
            continue
        if isinstance(child, Element):
            parent.append(child)
        elif isinstance(child, (str, int, float)):
            text = _text(child)
            if len(parent):
                parent[-1].tail = (parent[-1].tail or "") + text
            else:
                parent.text = (parent.text or "") + text
        else:
            _append(parent, child)


def _text(value: str | float) -> str:
    """Characters that no document may hold (control characters, lone surrogates) become U+FFFD."""
    if isinstance(value, float):
        return f"{value:.6g}"
    return _NOT_TEXT.sub("\N{REPLACEMENT CHARACTER}", str(value))
