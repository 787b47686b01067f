"""Options as texts: a line of the input is a name, ``=`` and the value."""

from . import harness

with harness.instrumented("nst_cli"):
    from nst_cli.cli.styling import styles_of
    from nst_cli.config import OPTIONS, PRESETS, Config
    from nst_cli.runs import styles

_LONGEST = 256
_STYLE_OPTIONS = ("style_weights", "style_scale", "masks", "style_masks")

WORDS = (
    *(f"\n{name}=".encode() for name in (*OPTIONS, *_STYLE_OPTIONS, "preset", "styles")),
    *map(str.encode, PRESETS), b"auto", b"paper", b"off", b"none", b"/pixel", b"bn=0.3,poly=0.7",
    b"relu1_1=2", b"relu1_1,relu2_1", b"1e999", b"-1", b"nan", b"inf", b"0x10", b"1_0", b"gpu:0",
    b"\xd9\xa1", b"\xef\xbc\x91", b"\0", b"\x1b[2J", b"\xe2\x80\xae", b"1" * 40,
)  # fmt: skip


def try_one(data):
    """Make a `Config`, and the styles of a command line."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    paths = values.pop("styles", "a.png").split("|")
    of_styles = {name: values.pop(name, None) for name in _STYLE_OPTIONS}
    for name in ("masks", "style_masks"):
        of_styles[name] = (of_styles[name] or "").split("|") if of_styles[name] else ()
    config = Config.from_dict(values)
    again = Config.from_dict(config.to_dict())
    if again != config:
        raise harness.Find("its choices do not survive a sidecar")
    styles.check(styles_of(paths, **of_styles), config)


def seeds():
    """Return one option after the other, as the presets have them."""
    lines = [f"{name}={value}" for values in PRESETS.values() for name, value in values.items()]
    fusion = (
        "method=bn=0.3,poly=0.7\nbeta=bn=2,poly=1\nlayer_weights=relu1_1=2\nstyle_layers=relu1_1"
    )
    style = "styles=a.png|b.png\nstyle_weights=0.7,0.3\nstyle_scale=1,2\nmasks=none|m.png"
    return [line.encode() for line in (*dict.fromkeys(lines), fusion, style)]


if __name__ == "__main__":
    harness.main(globals(), _LONGEST)
