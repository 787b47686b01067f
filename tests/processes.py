"""The command line as real processes, for the tests of its commands."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
from PIL import Image

import nst_cli

# Two shallow layers and a small picture: most of such a run is the import of MXNet.
SMALL = {
    "size": 32,
    "style_layers": "relu1_1,relu2_1",
    "content_layers": "relu2_1",
    "iterations": 4,
    "denoise": 0,
    "device": "cpu",
}
SMALL_OPTIONS = [
    word for name, value in SMALL.items() for word in (f"--{name.replace('_', '-')}", str(value))
]

# Long enough for any of these processes; one that takes longer hangs.
PATIENCE = 120


def environment(**variables):
    """Return the variables of a process; those given as None are taken away."""
    own = {
        "PYTHONPATH": str(Path(nst_cli.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "XDG_CACHE_HOME": os.path.join(os.sep, "no", "such", "folder"),
        "NST_WEIGHTS": None,
        "no_proxy": "*",
    }
    merged = {**os.environ, **own, **variables}
    return {name: str(value) for name, value in merged.items() if value is not None}


def nst(folder, *arguments, program=("-m", "nst_cli"), **variables):
    """Run the command in a folder to its end; `program` is what Python runs in its place."""
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def content_of(folder):
    """Return everything below a folder, by relative path: bytes, a link's aim, or None."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_dir():
            content = None
        else:
            content = path.read_bytes()
        found[str(path.relative_to(folder))] = content
    return found


def error_of(done, code):
    """Return the one line that a failed process wrote, after a look at all else it did."""
    lines = [line for line in done.stderr.splitlines() if line]
    if code == 2:
        lines = [line for line in lines if not line.startswith(("Usage: ", "Try "))]
    assert (done.returncode, done.stdout, len(lines)) == (code, "", 1), done.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


def noise(seed, height, width, channels=3):
    values = numpy.random.RandomState(seed).randint(0, 256, (height, width, channels))
    return Image.fromarray(values.astype(numpy.uint8))


def save_pair(folder):
    """Save a content picture, a part of it transparent, and a style picture."""
    content = numpy.array(noise(1, 24, 32, 4))
    content[..., 3] = 255
    content[:12, :, 3] = 51
    Image.fromarray(content).save(folder / "content.png")
    noise(2, 40, 30).save(folder / "style.png")
