"""Read, resize and write every file of a folder with nst; print the outcomes.

    python tests/try_pictures.py FOLDER [--seconds N] [--gigabytes N] [--list FILE]

Each file has its own process, with limits of time and memory. The files need not be pictures: each
must be either read or refused in one line. Exits with 1 if any raised, crashed, ran out of time,
printed something or had two sizes.
"""

import argparse
import collections
import json
import os
import re
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

from nst_cli import images
from nst_cli.errors import NstError

# Beginnings of the outcomes that are as they should be.
GOOD = ("read", "refused")
_LONG_EDGE = 64


class Outcome(NamedTuple):
    """The outcome of a file, with the message or traceback."""

    name: str
    detail: str = ""


def try_file(path: str) -> Outcome:
    """Read, size, resize and write one picture, in this process."""
    try:
        picture = images.read(path)
    except NstError as error:
        return Outcome("refused", _without_path(str(error), path))
    if images.size_of(path) != picture.pixels.shape[:2]:
        return Outcome("two sizes", f"{images.size_of(path)} and {picture.pixels.shape[:2]}")
    try:
        size = images.fit(picture.pixels.shape, _LONG_EDGE)
    except NstError:
        size = (16, 16)
    pixels = images.resize(picture.pixels, size).round().astype("uint8")
    alpha = None if picture.alpha is None else images.resize(picture.alpha, size)
    with tempfile.TemporaryDirectory() as folder:
        for ending in (".png", ".jpg", ".tif", ".webp"):
            output = os.path.join(folder, "a" + ending)
            images.write(output, pixels, alpha, {"of": "a trial"})
            images.read_metadata(output)
    return Outcome("read")


def in_process(path: str, seconds: float, gigabytes: float) -> Outcome:
    """Try one file in its own process."""
    results, result_end = os.pipe()
    lines, lines_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(lines_end, 2)
        _be_child(path, result_end, seconds, gigabytes)
    os.close(result_end)
    os.close(lines_end)
    texts, is_late = _all_of((results, lines), child, seconds)
    _, status = os.waitpid(child, 0)
    if is_late:
        return Outcome("timed out", f"{seconds:g} seconds")
    if os.WIFSIGNALED(status):
        return Outcome("crashed", signal.Signals(os.WTERMSIG(status)).name)
    outcome = Outcome(*json.loads(texts[results])) if texts[results] else Outcome("crashed")
    if texts[lines] and outcome.name in GOOD:
        return Outcome(f"{outcome.name}, and printed", texts[lines].decode("utf-8", "replace"))
    return outcome


def _be_child(path, result_end, seconds, gigabytes):
    resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 1e9),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        outcome = try_file(path)
    except BaseException:  # noqa: BLE001
        outcome = Outcome("raised", traceback.format_exc())
    os.write(result_end, json.dumps(outcome).encode()[:60000])
    os._exit(0)


def _all_of(ends, child, seconds):
    """Return the content of pipes until they are closed, and whether that took too long."""
    texts, waiting, until, is_late = (
        {end: b"" for end in ends},
        set(ends),
        time.time() + seconds,
        0,
    )
    while waiting:
        ready, _, _ = select.select(list(waiting), [], [], max(0, until - time.time()))
        if not ready:
            os.kill(child, signal.SIGKILL)
            is_late, until = True, time.time() + 60
        for end in ready:
            data = os.read(end, 1 << 16)
            texts[end] += data
            if not data:
                waiting.remove(end)
                os.close(end)
    return texts, is_late


def _without_path(text, path):
    return text.replace(path, "FILE")


def _kind_of(outcome):
    """Return an outcome for the table: reasons without their numbers."""
    if outcome.name != "refused":
        last = outcome.detail.strip().splitlines()[-1:] if outcome.name == "raised" else []
        return ": ".join([outcome.name, *last])[:150]
    return re.sub(r"\d[\d.]*", "N", f"refused: {outcome.detail}")[:150]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--gigabytes", type=float, default=8)
    parser.add_argument("--list", help="write here what became of each file, one JSON a line")
    options = parser.parse_args()
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(options.folder)
        for name in names
        if os.path.isfile(os.path.join(folder, name))
    )
    table, bad = collections.Counter(), []
    with open(options.list or os.devnull, "w", encoding="utf-8") as listing:
        for path in paths:
            outcome = in_process(path, options.seconds, options.gigabytes)
            table[_kind_of(outcome)] += 1
            if outcome.name not in GOOD:
                bad.append((path, outcome))
            listing.write(json.dumps([path, *outcome]) + "\n")
    for kind, count in sorted(table.items(), key=lambda item: (item[0] != "read", -item[1])):
        print(f"{count:6} {kind}")
    print(f"{len(paths):6} files, of which {len(bad)} came out in a way that is a fault of nst")
    for path, outcome in bad:
        print(f"{outcome.name}: {path}\n{outcome.detail}".rstrip())
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
