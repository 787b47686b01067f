"""Escapes values from untrusted files for a page."""

import html
from typing import Any


def shown(value: Any) -> str:
    """Return a value of a sidecar as readable text."""
    if value is None or value == "" or value == []:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, list):
        return ", ".join(map(shown, value))
    if isinstance(value, dict):
        return ", ".join(f"{clean(name)} {shown(inner)}" for name, inner in value.items())
    return clean(value)


def escaped(value: Any) -> str:
    """Return the text of a value, escaped for HTML and SVG."""
    # Browsers read a bare carriage return as a line feed.
    return html.escape(shown(value)).replace("\r", "&#13;")


def clean(value: Any) -> str:
    """Return a value as text that UTF-8 can encode; a file's name need not be."""
    return str(value).encode("utf-8", "replace").decode("utf-8")
