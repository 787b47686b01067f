"""Names of pictures, made from a template and the choices of a run."""

import dataclasses
import functools
import os
import re
import string
from collections.abc import Mapping
from pathlib import Path

from ..config import Config, did_you_mean
from ..errors import BatchError, reason
from .patterns import Match

_CHOICES = {field.name for field in dataclasses.fields(Config)}


def short(value: object) -> str:
    """Return a value as Python spells it, cut to the length of a message."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def named(
    template: str, folder: str, pictures: Mapping[str, Match], config: Config, number: int
) -> str:
    """Fill a template with a run's own values.

    Parameters
    ----------
    template : str
    folder : str
        What the result is relative to.
    pictures : dict of str to Match
        Of ``content`` and ``style``.
    config : Config
    number : int
        Of the run in its file.

    Returns
    -------
    str
        The path of the run's picture.

    Raises
    ------
    BatchError
        It is no template, or has fields that do not exist.
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
    # Before it is filled: a picture's own name may begin with ~.
    template = os.path.expanduser(template)
    try:
        name = template.format_map(fields)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise BatchError(
            f"output {short(template)} is not a template: {reason(error)}."
        ) from error
    if not os.path.isabs(template):
        # A template that begins with a folder's field, and that folder is the pattern's own.
        name = name.lstrip(os.sep)
    output = os.path.normpath(os.path.join(folder, name))
    try:
        os.fsencode(output)
    except UnicodeEncodeError:
        raise BatchError(f"output {short(output)}: no file can have that name.") from None
    return output


@functools.lru_cache(maxsize=1)
def _names_in(template):
    """Return the names of a template's fields, after a look at what follows them."""
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


def _word(value):
    values = value if isinstance(value, tuple) else [value]
    words = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    return "+".join(words).replace(os.sep, "-")
