"""Measures the cost of a batch besides its steps, and the gain of a second process.

It makes twelve runs, of three contents by four methods. The time of the steps is measured between
them. All other time, before the first step of a run and after its last, is the cost of the batch.
Run it on an idle machine:

    python benchmarks/batch.py CONTENT CONTENT CONTENT STYLE [--size 128] [--preset paper]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import describe, run

from nst_cli.config import PAPER_METHODS
from nst_cli.runs import batch, plan, precheck

COMMAND = [sys.executable, "-m", "nst_cli", "batch", "--quiet"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", nargs=4, metavar="PICTURE", help="three contents and a style")
    parser.add_argument("--size", default="128")
    parser.add_argument("--preset", default="paper")
    arguments = parser.parse_args()
    print(f"{describe()}, preset {arguments.preset}, {arguments.size} pixels")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "batch.toml")
        file.write_text(grid(arguments))
        total, steps = here(file)
        print(f"12 runs: {total:.1f} s, {total / steps:.3f} of the {steps:.1f} s of their steps")
        print(f"again, nothing to do: {seconds(file):.1f} s, process and all")
        one, two = seconds(file, "--force"), seconds(file, "--force", "--jobs", "2")
        print(f"--jobs 2: {two:.1f} s, {two / one:.2f} of the {one:.1f} s of --jobs 1")


def grid(arguments):
    *contents, style = (str(Path(picture).absolute()) for picture in arguments.pictures)
    return (
        f'[defaults]\npreset = "{arguments.preset}"\nsize = {arguments.size}\n'
        f"[grid]\ncontent = {contents}\nstyle = '{style}'\nmethod = {list(PAPER_METHODS)}\n"
    )


def here(file):
    """Return the seconds of the batch in this process, and of its steps."""
    moments = {}
    runs = plan.read(file)
    precheck.check(runs)

    def start(run):
        moments[run.output] = []
        return lambda record: moments[run.output].append(time.perf_counter())

    began = time.perf_counter()
    results = batch.make(runs, on_start=start)
    total = time.perf_counter() - began
    if {finished.state for finished in results} != {"done"}:
        sys.exit(f"Not all runs are done: {results}")
    # The start of a run's first step cannot be observed, so it counts as an average step.
    return total, sum((m[-1] - m[0]) * len(m) / (len(m) - 1) for m in moments.values())


def seconds(file, *options):
    began = time.perf_counter()
    subprocess.run([*COMMAND, file, *options], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    run(main)
