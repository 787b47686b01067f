"""Fills a template for the name of a picture with the choices of a run."""

import dataclasses
import functools
import os
import re
import string
from collections.abc import Sequence
from pathlib import Path

from .. import checks
from ..checks import did_you_mean
from ..config import Config
from ..errors import BatchError, reason
from .patterns import Match
from .styles import Style

_CHOICES = {field.name for field in dataclasses.fields(Config)}


def short(value: object) -> str:
    """Return a value as `checks.short` does, but longer: paths and templates need it."""
    return checks.short(value, 60)


def output_path(
    template: str,
    folder: str,
    content: Match,
    styles: Sequence[tuple[Style, Match]],
    config: Config,
    number: int,
) -> str:
    """Return the path of a run's picture.

    Parameters
    ----------
    template : str
    folder : str
        The folder that the template is relative to.
    content : Match
    styles : sequence of (Style, Match)
        Their names are joined by ``+``; the folder is that of the first.
    config : Config
    number : int
        The run's number in its file.

    Raises
    ------
    BatchError
        The text is not a template, or has an unknown field; or it names the styles, and two of
        them have one name.
    """
    if not isinstance(template, str):
        raise BatchError(f"output {short(template)} is not a template: it must be a text.")
    stems = [style.stem for style, _ in styles]
    fields = {"content": Path(content.path).stem, "style": "+".join(stems)}
    fields.update(content_folder=content.folder, style_folder=styles[0][1].folder)
    fields.update(init=Path(config.init).stem, number=f"{number:03d}")
    names = _names_in(template)
    if "style" in names:
        _check_distinct(template, styles)
    for name in names:
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


def _check_distinct(template: str, styles: Sequence[tuple[Style, Match]]) -> None:
    """Refuse styles of one name in a template that names them."""
    paths: dict[str, str] = {}
    for style, _ in styles:
        if style.stem in paths:
            other = paths[style.stem]
            twice = "twice" if other == style.path else f"for {other} and {style.path}"
            raise BatchError(
                f"output {short(template)}: {{style}} would have the name {style.stem!r} {twice}; "
                "give the run an output without {style}, for example with {number}."
            )
        paths[style.stem] = style.path


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
