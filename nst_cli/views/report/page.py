"""Renders runs as one HTML page; every value from a user's file is escaped here."""

import base64
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Optional, Union

from ... import __version__
from ...config import OPTIONS, PRESETS
from ...runs import log
from ...runs.provenance import StyleSource
from . import svg
from .collect import Run, Source, Style
from .escape import escaped as _text
from .escape import shown as _shown
from .template import asset, filled
from .thumbnails import Thumbnail

# Not compared: they follow from other values, or the page shows them in another form.
_NOT_COMPARED = re.compile(r"(content|style|init|weights) sha256|(content|style|init) path"
                           r"|width|height|beta \w+")  # fmt: skip

_DIFFERS = ' class="differs"'

# Parameters of a run by name.
_Table = dict[str, Any]

# Filters that fit in a line or two.
_FEW = 8

_STOPS = {
    "converged": "converged",
    "iterations": "all steps done",
    "stalled": "stalled: no descent found",
    "interrupted": "interrupted",
    "stopped": "stopped by the user",
    "non-finite": "not finite",
}


def render(title: str, runs: Sequence[Run]) -> str:
    """Return the page of runs; it needs no other file and no network.

    Parameters
    ----------
    title : str
    runs : sequence of collect.Run

    Returns
    -------
    str
        HTML.
    """
    contents = _labels(run.content for run in runs)
    styles = _labels(source for run in runs for style in run.styles for source in style.sources)
    tables = [
        {"content": contents[run.content.sha256]}
        | _style_parameters(run.styles, styles)
        | _parameters(run.document)
        for run in runs
    ]
    differing = _differing(tables)
    album = _Album()
    cards = [_card(run, table, differing, album, styles) for run, table in zip(runs, tables)]
    script = asset(__package__, "page.js")
    return filled(
        asset(__package__, "page.html"),
        title=_text(title),
        version=_text(__version__),
        css=asset(__package__, "page.css"),
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        count=_text(_counted(len(runs))),
        filters="".join(_filter(name, tables) for name in differing),
        filters_open=" open" * (len(differing) <= _FEW),
        sorts=_options((key, key) for key in ("name", *differing, "loss", "steps")),
        shared=_shared(tables, differing),
        cards="".join(cards),
        choices=album.options(),
    )


class _Album:
    """The pictures of a page. Each is embedded once; repeated uses refer to the first."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        roles = ("made", "content", "style", "mask")
        self._names: dict[str, list[tuple[str, str]]] = {role: [] for role in roles}

    def image(self, thumbnail: Thumbnail, role: str, name: str) -> str:
        """Return an image element; `role` and `name` label it in the comparison's drop-downs."""
        alt = f"{name}, the {'picture made' if role == 'made' else role}"
        attributes = f'alt="{_text(alt)}" width="{thumbnail.width}" height="{thumbnail.height}"'
        known = self._ids.get(thumbnail.sha256)
        if known:
            return f'<img data-same="{known}" {attributes}>'
        new = self._ids[thumbnail.sha256] = f"picture-{len(self._ids) + 1}"
        self._names[role].append((name, new))
        return f'<img id="{new}" src="{thumbnail.uri}" {attributes}>'

    def id_of(self, thumbnail: Optional[Thumbnail]) -> str:
        """Return the id of a picture's element; empty without a picture."""
        return self._ids[thumbnail.sha256] if thumbnail else ""

    def options(self) -> str:
        """Return the options of the comparison's drop-downs, grouped by role."""
        return "".join(
            f'<optgroup label="{role}">{_options(sorted(names))}</optgroup>'
            for role, names in self._names.items()
            if names
        )


def _style_parameters(styles: Sequence[Style], labels: dict[str, str]) -> _Table:
    """Return the names of the styles, and what is said of them besides, as a flat table."""
    names = [
        labels[style.sources[0].sha256]
        if style.description.folder is None
        else f"{_base(style.description.folder)}/"
        for style in styles
    ]
    table: _Table = {"style": " + ".join(names)}
    described = [style.description for style in styles]
    plain = StyleSource(())
    columns: dict[str, tuple[list[Any], Any]] = {
        "style weights": ([one.weight for one in described], plain.weight),
        "style scale": ([one.scale for one in described], plain.scale),
        "masks": ([one.mask and _base(one.mask.path) for one in described], None),
        "style masks": (
            [one.style_mask and _base(one.style_mask.path) for one in described],
            None,
        ),
        "style methods": ([one.method or None for one in described], None),
    }
    for name, (values, default) in columns.items():
        if set(values) != {default}:
            table[name] = values
    return table


def _base(path: str) -> str:
    return os.path.basename(os.path.normpath(path))


def _card(
    run: Run,
    table: _Table,
    differing: Sequence[str],
    album: _Album,
    styles: dict[str, str],
) -> str:
    shown = {key: table[key] for key in ("method", *differing) if key in table}
    name, losses, steps = _shown(run.name), run.document["losses"], run.document["steps"]
    texts = {key: _shown(value) for key, value in shown.items()}
    # Content and style are named below their pictures.
    chips = {key: text for key, text in texts.items() if key not in ("content", "style")}
    values = {key: _sortable(value) for key, value in shown.items()}
    values |= {"name": name, "steps": steps, "loss": losses.get("total")}
    words = " ".join([name, *(f"{key}={text}" for key, text in texts.items())])
    picture = album.image(run.thumbnail, "made", name)
    sources = [_source("content", run.content, table["content"], album)]
    several = len(run.styles) > 1
    sources += [figure for style in run.styles for figure in _style(style, several, album, styles)]
    rows = f' style="--rows:{len(sources)}"' * (len(sources) > 2)
    facts = [
        ("final loss", svg.number(losses["total"]) if "total" in losses else "not known"),
        ("steps", steps),
        ("stop", _STOPS.get(run.document["stop_reason"], run.document["stop_reason"])),
    ]
    left = album.id_of(run.content.thumbnail or run.styles[0].sources[0].thumbnail)
    return (
        f'<article class="run" data-values="{_text(json.dumps(values))}" '
        f'data-texts="{_text(json.dumps(texts))}" data-words="{_text(words)}">'
        f'<div class="head"><h2>{_text(name)}</h2>'
        f'<button type="button" class="compare" data-left="{left}" '
        f'data-right="{album.id_of(run.thumbnail)}" '
        f'aria-label="Compare {_text(name)}" hidden>Compare</button></div>'
        f'<div class="pictures"{rows}>'
        f'<figure class="made">{picture}</figure>{"".join(sources)}</div>'
        f'<dl class="chips">{_pairs(chips)}</dl>'
        f'<dl class="facts">{_pairs(dict(facts))}</dl>'
        f'<div class="more">{_curves(run)}{_losses(losses)}'
        f"<details><summary>All parameters</summary>{_table(table, differing)}</details></div>"
        "</article>"
    )


def _source(role: str, source: Source, label: str, album: _Album) -> str:
    if source.thumbnail:
        picture = album.image(source.thumbnail, role, label)
    else:
        picture = f'<p class="missing">{source.remark}: {_text(source.path)}</p>'
    return (
        f'<figure class="{role}">{picture}'
        f"<figcaption><b>{role}</b> {_text(label)}</figcaption></figure>"
    )


def _style(style: Style, several: bool, album: _Album, labels: dict[str, str]) -> Iterator[str]:
    """Yield the figures of a style and of its masks."""
    described = style.description
    rest = len(described.files) - len(style.sources)
    for place, source in enumerate(style.sources, 1):
        label = labels[source.sha256]
        if rest and place == len(style.sources):
            label += f" and {rest} more in {_base(described.folder or '')}"
        if several and place == len(style.sources):
            label += f", weight {_shown(described.weight)}"
        yield _source("style", source, label, album)
    for role, mask in (("mask", style.mask), ("style mask", style.style_mask)):
        if mask:
            yield _source("mask", mask, f"{_base(mask.path)}, {role}", album)


def _curves(run: Run) -> str:
    remark = f"<p>{_text(run.remark)}</p>" if run.remark else ""
    drawn = svg.figures(run.steps, _shown(run.name))
    return (
        f'<details class="curves"><summary>Loss curves</summary>{remark}{"".join(drawn)}</details>'
    )


def _losses(losses: dict[str, float]) -> str:
    if not losses:
        return ""
    # Shares mean nothing if a loss is negative, as the estimate of the Gaussian MMD may be.
    shares = min(losses.values()) >= 0 and losses.get("total")
    rows = "".join(
        f'<tr><th scope="row">{_text(name)}</th><td>{svg.number(value)}</td>'
        f"<td>{f'{value / shares:.1%}' if shares else ''}</td></tr>"
        for name, value in losses.items()
    )
    return (
        f"<details><summary>Final losses</summary><table><tbody>{rows}</tbody></table></details>"
    )


def _table(table: _Table, differing: Collection[str] = ()) -> str:
    rows = "".join(
        f"<tr{_DIFFERS * (name in differing)}><th scope='row'>{_text(name)}</th>"
        f"<td>{_text(_shown(value))}</td></tr>"
        for name, value in table.items()
    )
    return f"<table><tbody>{rows}</tbody></table>"


def _shared(tables: Sequence[_Table], differing: Collection[str]) -> str:
    if len(tables) == 1:
        return ""
    first = tables[0]
    same = {
        name: value
        for name, value in first.items()
        if name not in differing and all(table.get(name) == value for table in tables)
    }
    return f"<details><summary>The same for all pictures</summary>{_table(same)}</details>"


def _filter(name: str, tables: Sequence[_Table]) -> str:
    values = {_shown(table[name]) for table in tables if name in table}
    options = _options((value, value) for value in sorted(values, key=_natural))
    return (
        f'<label>{_text(name)} <select data-parameter="{_text(name)}">'
        f'<option value="">any</option>{options}</select></label>'
    )


def _options(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the options of a drop-down from pairs of text and value."""
    return "".join(
        f'<option value="{_text(value)}">{_text(shown)}</option>' for shown, value in pairs
    )


def _natural(text: str) -> tuple[int, float, str]:
    """Sort key: numbers by value, then other texts."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text


def _pairs(values: _Table) -> str:
    return "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(_shown(value))}</dd></div>"
        for name, value in values.items()
    )


def _labels(sources: Iterable[Source]) -> dict[str, str]:
    """Return each picture's label by checksum: the shortest that is unique."""
    paths = {source.sha256: source.path for source in sources}
    names = Counter(map(os.path.basename, paths.values()))
    places = Counter(paths.values())
    labels = {}
    for sha256, path in paths.items():
        name = os.path.basename(path)
        if names[name] > 1:
            name = path
        if places[path] > 1:
            name = f"{path} ({sha256[:8]})"
        labels[sha256] = name
    return labels


def _parameters(document: dict[str, Any]) -> _Table:
    """Return a flat table of everything in a sidecar except losses, steps and stop reason."""
    # Options that were not given, such as a quality, are not shown.
    config = {key: value for key, value in document["config"].items() if value is not None}
    others: _Table = {}
    for key, value in document.items():
        if key in ("config", "losses", "steps", "stop_reason", "program", "styles"):
            continue
        # The value that `auto` resolved to.
        key = f"{key} used" if key in OPTIONS and not isinstance(value, dict) else key
        if isinstance(value, dict):
            others |= {f"{key} {name}": inner for name, inner in value.items()}
        elif value is not None:
            others[key] = value
    return config | others


def _differing(tables: Sequence[_Table]) -> list[str]:
    """Return the names of parameters that differ between runs, without dependent ones."""
    names = dict.fromkeys(name for table in tables for name in table)
    differing = [
        name
        for name in names
        if not _NOT_COMPARED.fullmatch(name)
        and len({_shown(table.get(name)) for table in tables}) > 1
    ]
    return [
        name
        for name in differing
        if name.partition(" used")[0] not in set(differing) - {name}
        and not all(_from_preset(name, table) for table in tables)
    ]


def _from_preset(name: str, table: _Table) -> bool:
    """Return whether a value is the preset's default, so that the preset's name implies it."""
    preset = PRESETS.get(str(table.get("preset")), {})
    if name not in preset or name not in table:
        return False
    default = preset[name]
    return _shown(table[name]) == _shown(list(default) if isinstance(default, tuple) else default)


def _sortable(value: Any) -> Union[None, int, float, str]:
    """Return a value to sort by: a number that JSON can hold, a text or None."""
    return value if value is None or log.is_number(value) else _shown(value)


def _counted(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
