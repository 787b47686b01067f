"""Fills a template for the name of a picture with the choices of a run."""

import dataclasses
import functools
import os
import re
import string
from collections.abc import Mapping
from pathlib import Path

from .. import checks
from ..checks import did_you_mean
from ..config import Config
from ..errors import BatchError, reason
from .patterns import Match

_CHOICES = {field.name for field in dataclasses.fields(Config)}


def short(value: object) -> str:
    """Return a value as `checks.short` does, but longer: paths and templates need it."""
    return checks.short(value, 60)


def output_path(
    template: str, folder: str, pictures: Mapping[str, Match], config: Config, number: int
) -> str:
    """Return the path of a run's picture.

    Parameters
    ----------
    template : str
    folder : str
        The folder that the template is relative to.
    pictures : dict of str to Match
        ``content`` and ``style``.
    config : Config
    number : int
        The run's number in its file.

    Raises
    ------
    BatchError
        The text is not a template, or has an unknown field.
    """
    if not isinstance(template, str):
        raise BatchError(f"output {short(template)} is not a template: it must be a text.")
    fields = {key: Path(match.path).stem for key, match in pictures.items()}
    fields.update({f"{key}_folder": match.folder for key, match in pictures.items()})
    fields.update(init=Path(config.init).stem, number=f"{number:03d}")
    for name in _names_in(template):
        if name not in fields and name in _CHOICES:
            fields[name] = _word(getattr(config, name))
        elif name not in fields:
            known = sorted({*fields, *_CHOICES})
            raise BatchError(
                f"output {short(template)}: no field {name!r}{did_you_mean(name, known)}"
            )
    # Expanded before it is filled, because a picture's name may begin with ~.
    template = os.path.expanduser(template)
    try:
        name = template.format_map(fields)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise BatchError(
            f"output {short(template)} is not a template: {reason(error)}."
        ) from error
    if not os.path.isabs(template):
        # If the template begins with {content_folder} and that is empty, a slash is left over.
        name = name.lstrip(os.sep)
    output = os.path.normpath(os.path.join(folder, name))
    try:
        os.fsencode(output)
    except UnicodeEncodeError:
        raise BatchError(f"output {short(output)} is not a possible file name.") from None
    return output


@functools.lru_cache(maxsize=1)
def _names_in(template: str) -> list[str]:
    """Return the names of a template's fields; refuse nested fields and huge widths."""
    names = []
    try:
        for _, name, form, _ in string.Formatter().parse(template):
            if form and ("{" in form or re.search(r"\d{3}", form)):
                raise BatchError(
                    f"output {short(template)}: {form!r} cannot follow the field {name!r}."
                )
            if name is not None:
                names.append(name)
    except ValueError as error:
        raise BatchError(
            f"output {short(template)} is not a template: {reason(error)}."
        ) from error
    return names


def _word(value: object) -> str:
    if value is None:
        return "auto"
    values = value if isinstance(value, tuple) else [value]
    words = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    return "+".join(words).replace(os.sep, "-")
