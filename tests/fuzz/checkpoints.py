"""Checkpoints: an input is the header in JSON; a run goes on from its state.

The fuzzer adds the arrays that the header names, with the bytes that they have in the seeds, and
the checksum.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import NamedTuple

import numpy

from . import harness

with harness.instrumented("nst_cli.runs", "nst_cli.synthesis"):
    import patterns

    from nst_cli.config import Config
    from nst_cli.runs import checkpoints, keeping, runner
    from nst_cli.runs.runner import Job
    from nst_cli.synthesis.kit import NetworkKit
from PIL import Image

_LONGEST = 8192
# Bytes of arrays that are added; a header may ask for more than there are.
_MOST_ADDED = 1 << 20
_TINY = {
    "size": 16, "style_layers": "relu1_1", "content_layers": "relu1_1", "iterations": 3,
    "denoise": 0, "device": "cpu", "weights": "builtin", "preset": "paper",
}  # fmt: skip

WORDS = (
    b'"name"', b'"output"', b'"step"', b'"steps"', b'"numbers"', b'"arrays"', b'"float32"',
    b'"float64"', b'"uint32"', b'"uint8"', b'"object"', b'"log"', b'"momentum"', b'"memory"',
    b'"slots"', b'"used"', b'"products"', b'"vector"', b'"gradient"', b"[1, 3, 16, 16]", b"[0, 5]",
    b"[1099511627776, 1099511627776]", b"[-1]", b"[[[[[[[[", b"NaN", b"Infinity", b"1e999",
    b"1" * 30, b"null", b"true", b'"\\ud800"', b'"\\u0000"', b"-1", b"1e-320", b"1.5",
)  # fmt: skip


class _Run(NamedTuple):
    name: str
    job: Job
    kit: NetworkKit
    header: bytes
    # Bytes of the arrays by name.
    arrays: dict


_runs = []


def try_one(data):
    """Read a checkpoint, list it, and go on from it."""
    run = next((run for run in _runs if run.name.encode() in data), _runs[0])
    folder = checkpoints.make_folder()
    content = _with_arrays(data, run.arrays)
    (folder / f"{run.name}.checkpoint").write_bytes(content + hashlib.sha256(content).digest())
    checkpoints.entries()
    keeper = keeping.Keeper(run.job, "off")
    saved = keeper.load()
    runner.run(run.job, kit=run.kit, saved=saved)


def _with_arrays(header, known):
    start = struct.pack("<8sIQ", b"NSTCHECK", 1, len(header)) + header
    added = b""
    try:
        for name, dtype, shape in json.loads(header)["arrays"]:
            size = int(numpy.prod(shape, dtype=float) * numpy.dtype(dtype).itemsize)
            if 0 <= size <= _MOST_ADDED:
                added += known.get(name, b"")[:size].ljust(size, b"\0")
    # NumPy reads some names of types as Python.
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, SyntaxError):
        pass
    return start + added[:_MOST_ADDED]


def seeds():
    """Interrupt a run of each optimiser; return the headers of their checkpoints."""
    Image.fromarray(patterns.noise(16, 16)).save("content.png")
    Image.fromarray(patterns.noise(16, 20)).save("style.png")
    for number, choices in enumerate(
        (
            {"optimizer": "sgd"},
            {"optimizer": "adam", "method": "gaussian"},
            {"optimizer": "lbfgs", "beta": "auto"},
        )
    ):
        _runs.append(_interrupted(Config(**{**_TINY, **choices}), f"out-{number}.png"))
    return [run.header for run in _runs]


def _interrupted(config, output):
    job = runner.prepare("content.png", "style.png", output, config)
    kit = NetworkKit()
    keeper = keeping.Keeper(job, 1e9)

    def after_two(record):
        if record.step == 2:
            raise KeyboardInterrupt

    runner.run(job, on_step=after_two, kit=kit, keeper=keeper)
    (path,) = checkpoints.folder().glob("*.checkpoint")
    content = path.read_bytes()
    path.unlink()
    _, _, length = struct.unpack_from("<8sIQ", content)
    header, at, arrays = content[20 : 20 + length], 20 + length, {}
    for name, dtype, shape in json.loads(header)["arrays"]:
        size = int(numpy.prod(shape)) * numpy.dtype(dtype).itemsize
        arrays[name], at = content[at : at + size], at + size
    return _Run(Path(path).stem, job, kit, header, arrays)


if __name__ == "__main__":
    harness.main(globals(), _LONGEST)
