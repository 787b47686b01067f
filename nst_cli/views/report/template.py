"""The parts of a page that are files of the package, and how they are filled in."""

import importlib.resources
import re


def asset(package: str, name: str) -> str:
    """Return the text of a file in a package."""
    return importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")


def filled(template: str, **values: str) -> str:
    """Return a template with each ``{{name}}`` replaced by the value of that name."""
    # In one pass, so that placeholders within a value are not replaced.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)
