"""Batch files: TOML, patterns and the plan of the runs, without running them."""

from pathlib import Path

from PIL import Image

from . import harness

with harness.instrumented("nst_cli", "tomllib", "tomli"):
    from nst_cli.config import OPTIONS, PRESETS
    from nst_cli.runs import plan

_LONGEST = 1024

WORDS = (
    *(name.encode() for name in (*OPTIONS, *PRESETS)),
    b"[defaults]\n", b"[[run]]\n", b"[[grid]]\n", b"content", b"style", b"styles", b"output",
    b"preset", b"path", b"mask", b"style_mask", b"weight", b"scale", b"*.png", b"**/", b"[a-c]",
    b"{content}", b"{style}", b"{number}", b"{content_folder}", b"{size:>3}", b"{0}", b"{a.b}",
    b"{a[0]}", b"~/", b"~root", b"../", b"\\u0000", b"\\ud800", b"\\U0010ffff", b'"""', b"'''",
    b"nan", b"-inf", b"1e999", b"0xffffffffffffffffffff", b"9223372036854775808",
    b"1979-05-27T07:32:00Z", b"07:32:00", b"a.b.c.d", b"[[[[[[[[", b"{a={a={a=1}}}", b"auto",
    b"paper", b"relu1_1", b"bn=0.3,poly=0.7", b"random", b"builtin", b"\xef\xbb\xbf", b"\xff\xfe",
)  # fmt: skip

_SIMPLE = b"""output = "out/{content}-{style}-{gamma}.png"
[defaults]
size = 64
iterations = 3
[[grid]]
content = ["*.png", "a.png"]
style = "b/c.png"
gamma = [1, 1e-3]
"""
_STYLES = b"""[[run]]
content = "a.png"
preset = "fast"
method = {bn = 0.3, poly = 0.7}
layer_weights = {relu1_1 = 2}
style_layers = ["relu1_1", "relu2_1"]
init = "a.png"
styles = [{path = "a.png", weight = 0.7, mask = "a.png"}, {path = "b", scale = 2, method = "bn"}]
output = "{content_folder}/{number}.png"
"""


def try_one(data):
    """Plan the runs of a batch file."""
    plan.read(harness.file_of(data, "batch.toml"))


def seeds():
    """Return batch files; their pictures are made in the working folder."""
    Path("b").mkdir(exist_ok=True)
    for path in ("a.png", "b/c.png"):
        Image.new("RGB", (4, 4)).save(path)
    return [_SIMPLE, _STYLES, _SIMPLE.replace(b"\n", b"\r\n"), b'output = "a"\n[[run]]\n']


if __name__ == "__main__":
    harness.main(globals(), _LONGEST)
