"""Sidecars of pictures: what replay and report read, and what replay prepares from it."""

import json
from pathlib import Path

from . import harness

with harness.instrumented("nst_cli"):
    import patterns

    from nst_cli import files
    from nst_cli.config import PRESETS, Config
    from nst_cli.errors import NstError
    from nst_cli.runs import provenance, replay, sidecar
    from nst_cli.views import report
    from nst_cli.weights import Weights
from PIL import Image

_LONGEST = 4096
_PICTURE = "made.png"
# Files that a sidecar must not lead to.
_SECRET = b"not for strangers"

WORDS = (
    *(f'"{name}"'.encode() for name in (*PRESETS["paper"], *provenance.PATH_KEYS, *PRESETS)),
    b'"styles"', b'"files"', b'"path"', b'"source"', b'"sha256"', b'"mask"', b'"style_mask"',
    b'"weight"', b'"scale"', b'"method"', b'"plugins"', b'"package"', b'"version"', b'"file"',
    b'"size"', b'"losses"', b'"total"', b'"beta"', b'"steps"', b'"stop_reason"', b'"versions"',
    b'"tiling"', b"NaN", b"Infinity", b"-Infinity", b"1e999", b"1e400", b"-0", b"null", b"true",
    b"[[[[[[[[", b'{"a":{"a":{"a":', b'"\\ud800"', b'"\\u0000"', b'"../../etc/passwd"', b'"/"',
    b'"\\u001b[2J"', b'"\\u202e"', b'"<script>"', b'"]]>"', b"1" * 30, b'"builtin"', b'""',
    b'".."',
)  # fmt: skip


def try_one(data):
    """Recognise a sidecar, plan to replay its picture, and show the picture in a report."""
    path = harness.file_of(data, sidecar.sidecar_of(_PICTURE))
    sidecar.is_sidecar(path)
    sidecar.is_picture(_PICTURE)
    sidecar.is_up_to_date(_PICTURE, Config(), {})
    sidecar.read(_PICTURE)
    failures = [_failure_of(_replayed), _failure_of(_reported)]
    if failures[0] and failures[1]:
        raise failures[len(data) % 2]


def _failure_of(function):
    try:
        function()
    except NstError as error:
        return error
    return None


def _replayed():
    recipe = replay.read(_PICTURE)
    for path in (recipe.content, *(style.path for style in recipe.styles)):
        if Path(path).is_file() and Path(path).read_bytes() == _SECRET:
            raise harness.Find(f"it leads to {path}")


def _reported():
    path, _ = report.make(".", "page.html", overwrite=True)
    page = Path(path).read_text()
    if "<script>alert" in page:
        raise harness.Find("a page has a script of the sidecar")


def seeds():
    """Return sidecars of a picture in the working folder."""
    for name in ("content.png", "style.png", "mask.png"):
        Image.fromarray(patterns.noise(16, 16)).save(name)
    # Without a record of its own, so that the sidecar counts.
    Image.fromarray(patterns.noise(16, 16)).save(_PICTURE)
    Path("..", "secret-of-the-fuzzer").write_bytes(_SECRET)
    weights = Weights.find("builtin").sha256
    return [json.dumps(document).encode() for document in documents(_PICTURE, weights)]


def documents(picture, weights="0" * 64):
    """Return records of a picture that was made from files in the working folder.

    `weights` is the checksum of the built-in ones, which take long to compute.
    """

    def source(path, key="path"):
        return {key: path, "sha256": files.sha256(path)}

    base = {
        "program": "nst",
        "versions": {"nst": "0.1.0", "mxnet": "1.9.1"},
        "config": Config(weights="builtin").to_dict(),
        "content": source("content.png"),
        "style": source("style.png"),
        "weights": {"source": "builtin", "sha256": weights},
        "device": "cpu(0)",
        "precision": "float32",
        "threads": 1,
        "width": 16,
        "height": 16,
        "steps": 3,
        "stop_reason": "iterations",
        "beta": {"linear": 1.5},
        "losses": {"total": 3.0, "content": 1.0, "linear/relu1_1": 2.0},
    }
    if Path(picture).exists():
        base["file"] = {"sha256": files.sha256(picture), "size": Path(picture).stat().st_size}
    yield base
    style = {**source("style.png"), "weight": 0.5, "scale": 2.0, "mask": source("mask.png"),
             "style_mask": None, "method": "bn"}  # fmt: skip
    folder = {"path": ".", "files": [source("style.png")], "weight": 1, "scale": 1, "mask": None,
              "style_mask": None, "method": ""}  # fmt: skip
    several = {key: value for key, value in base.items() if key != "style"}
    yield {**several, "styles": [style, folder]}
    yield {
        **base,
        "config": Config(init="content.png", method="gaussian=1,bn=2").to_dict(),
        "init": source("content.png"),
        "plugins": {"other": {"package": "p", "version": "1"}},
        "tiling": {"tiles": 4},
    }


if __name__ == "__main__":
    harness.main(globals(), _LONGEST)
