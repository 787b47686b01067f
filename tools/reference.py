"""Write docs/options.md, the reference of all options, from the table in `nst_cli.config`.

    python tools/reference.py

A test compares the file with what this script writes.
"""

from pathlib import Path

from nst_cli import config, presets

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"

_INTRODUCTION = """\
# All options of a run

`nst stylize` and `nst batch` take all of these options. Other commands take some of them, and list
them by `--help`. The key is the name in a batch file, in a picture's sidecar and of the field of
`Config` in Python. [Making pictures](using.md) explains the choices that matter most.

`--preset` (`preset`) is `paper` by default. It sets the default of every other option. Defaults of
`fast` in bold differ from those of `paper`; the [other presets](#other-presets) are at the end.

X is a number, N a whole number. In a batch file and in Python, a list of layers may be a list, and
`NAME=X,...` a table: `layer_weights = { relu1_1 = 0.2, relu5_1 = 2 }`.

<!-- Written by tools/reference.py from nst_cli/config.py: change the text there. -->

| option | key | values | `paper` | `fast` | what it does |
|---|---|---|---|---|---|
"""


_PRESETS = """
## Other presets

Each has the values of `fast` or `paper` but for those listed here. [Presets](presets.md) says
where they are from.

| preset | based on | but |
|---|---|---|
"""


def page():
    """Return the text of docs/options.md."""
    rows = (_row(*item) for item in config.OPTIONS.items())
    other_rows = (_preset_row(*item) for item in presets.PRESETS.items())
    return "".join((_INTRODUCTION, *rows, _PRESETS, *other_rows))


def _preset_row(name, preset):
    values = (
        f"`{_flag(key, config.OPTIONS[key])} {_words(value)}`"
        for key, value in preset.values.items()
    )
    return f"| {_code(name)} | {_code(preset.base)} | {', '.join(values)} |\n"


def _words(value):
    """Return a value as the command line takes it, in few digits."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(name, option):
    cells = (
        _code(_flag(name, option)),
        _code(name),
        _values(option),
        _default(option.paper),
        _default(option.fast) if option.fast == option.paper else f"**{_default(option.fast)}**",
        _escaped(option.help),
    )
    return f"| {' | '.join(cells)} |\n"


def _flag(name, option):
    """Return the option of the command line: for a flag, the one that changes its default."""
    words = name.replace("_", "-")
    return f"--no-{words}" if option.paper is True else f"--{words}"


def _values(option):
    """Return the words of an option in code, or how its values are written."""
    if isinstance(option.paper, bool):
        return "`true`, `false`"
    return ", ".join(map(_code, option.choices)) or _code(option.metavar)


def _default(value):
    """Return a default as the command line writes it, a flag's as a batch file does."""
    if isinstance(value, bool):
        return _code(str(value).lower())
    if isinstance(value, tuple):
        words = (part if isinstance(part, str) else f"{part:g}" for part in value)
        return ", ".join(map(_code, words))
    return _code(str(value)) if value not in ("", None) else "none"


def _code(text):
    return f"`{_escaped(text)}`"


def _escaped(text):
    return text.replace("|", r"\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
