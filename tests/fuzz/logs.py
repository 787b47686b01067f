"""Logs of steps, lines of JSON: what plot and report read and draw."""

from pathlib import Path

from . import harness

with harness.instrumented("nst_cli"):
    from nst_cli.errors import LogError
    from nst_cli.runs import log
    from nst_cli.views import curves, plot
    from nst_cli.views.report import svg

_LONGEST = 1024
# Drawing by matplotlib takes a second.
_DRAWN = 2003

WORDS = (
    b'{"step": 1, "scale": 1, ', b'"step": 2', b'"scale": 2', b'"relative_change": null, ',
    b'"gradient_norm": 1.0, ', b'"losses": {"total": 1.0}', b'"content"', b'"linear/relu1_1"',
    b'"smoothing"', b'"bn/"', b'"/"', b"1e300", b"-1e300", b"1e-320", b"1e301", b"NaN",
    b"Infinity", b"-0.0", b"1000000000", b"1" * 30, b"[[[[[[[[", b'"\\ud800"', b'"\\u0000"',
    b'"$x^"', b'"\\u001b[2J"', b'"<b>"', b"}\n{", b"\r\n", b"null", b"true",
)  # fmt: skip

_tried = 0


def try_one(data):
    """Read a log, and draw its curves."""
    global _tried
    path = harness.file_of(data, "log.jsonl")
    log.is_log(path)
    try:
        steps = log.read(path)
    except LogError as error:
        steps, failure = error.steps, error
    else:
        failure = None
        if data.endswith(b"\n"):
            log.parse(data)
    drawn = svg.figures(steps, "name")
    for name in curves.parts(steps):
        curves.curve(steps, [name], name)
    if any("nan" in text.replace("nan/", "") or "inf" in text for text in drawn):
        names = "".join(curves.parts(steps))
        if "nan" not in names and "inf" not in names:
            raise harness.Find("a drawing has numbers that are not finite")
    if not failure:
        _tried += 1
        if _tried % _DRAWN == 0:
            plot.draw([path], "plot.svg", overwrite=True)
            Path("plot.svg").unlink()
    if failure:
        raise failure


def seeds():
    """Return logs of one and of two scales, and one that is cut off."""
    line = (
        '{"step": %d, "scale": %d, "relative_change": null, "gradient_norm": 2.5, "losses": %s}\n'
    )
    losses = '{"total": 3.5, "content": 1.0, "linear/relu1_1": 2.0, "smoothing": -0.5}'
    lines = [(line % (step, scale, losses)).encode() for step, scale in ((1, 1), (2, 1), (3, 2))]
    return [b"", lines[0], b"".join(lines), b"".join(lines)[:-30]]


if __name__ == "__main__":
    harness.main(globals(), _LONGEST)
