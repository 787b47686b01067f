"""Runs nst for long, and reports whether anything grows or is left behind.

python benchmarks/soak.py runs [--count 200] [--kit]
python benchmarks/soak.py view [--count 200]
python benchmarks/soak.py steps [--count 2000]
python benchmarks/soak.py batch [--count 2000]

Each exits with 1 if something grew, was left or is wrong. The pictures are random, the network is
built in. The processes of the batch are killed at random, and the batch is repeated until it ends.
"""

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy
from PIL import Image

from nst_cli import Config, NstError, images, transfer
from nst_cli.config import METHODS, OPTIMIZERS
from nst_cli.engine import device_of
from nst_cli.engine.precision import resolved_precision
from nst_cli.runs import runner
from nst_cli.runs.maker import Maker
from nst_cli.runs.plan import Run
from nst_cli.runs.styles import Style
from nst_cli.views import live

# The processes may grow until this run; from there to the last one by this share at most.
WARM, MOST_GROWTH = 20, 0.05
FUSIONS = ("bn=0.3,poly=0.7", "sliced=0.5,linear=0.5")
PAGE = os.sysconf("SC_PAGE_SIZE")


def memory_of(process="self"):
    """Return the resident bytes of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def children_of(process):
    """Return the numbers of a process's children."""
    children = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if entry.name.isdigit():
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(status[1]) == process and status[0] != "Z":
                    children.append(int(entry.name))
    return children


def held():
    """Return what this process holds besides memory: open files, threads and children."""
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "processes": len(children_of(os.getpid())),
    }


class Curve:
    """The resident memory every few rounds, and what is held from `WARM` rounds on."""

    def __init__(self, every):
        self.every, self.megabytes, self.warm, self.held = every, [], 0, {}

    def after(self, number):
        """Note the state after a round, counted from 1."""
        if number % self.every == 0:
            self.megabytes.append(round(memory_of() / 1e6))
            print(f"{number}: {self.megabytes[-1]} MB", flush=True)
        if number == WARM:
            self.warm, self.held = memory_of(), held()

    def faults(self, *folders):
        """Print the curve; return what grew or was left, one line each."""
        last, grown = memory_of(), []
        print(f"resident MB, every {self.every}: {' '.join(map(str, self.megabytes))}")
        if self.warm:
            share = last / self.warm - 1
            print(f"after {WARM}: {self.warm / 1e6:.1f} MB, last: {last / 1e6:.1f} ({share:+.1%})")
            if share > MOST_GROWTH:
                grown.append(f"memory grew by {share:.1%} after round {WARM}")
        for what, count in held().items():
            print(f"{what}: {self.held.get(what, count)}, at the end {count}")
            if count > self.held.get(what, count):
                grown.append(f"{count - self.held[what]} more {what} than after round {WARM}")
        for folder in folders:
            if left := sorted(path.name for path in Path(folder).rglob("*")):
                grown.append(f"left in {folder}: {', '.join(left[:5])}")
        return grown


def save_noise(path, height, width, seed):
    """Save a picture of noise, and return its path."""
    pixels = numpy.random.RandomState(seed).randint(0, 256, (height, width, 3), dtype=numpy.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def save_mask(path, height, width):
    """Save a mask whose left half is white, and return its path."""
    pixels = numpy.zeros((height, width), numpy.uint8)
    pixels[:, : width // 2] = 255
    Image.fromarray(pixels).save(path)
    return str(path)


def random_run(folder, number):
    """Return a run that differs from most others in size, method, styles and all else."""
    random = numpy.random.RandomState(number)

    def one_of(*values):
        return values[random.randint(len(values))]

    def picture(name):
        height, width = random.randint(48, 97, 2)
        size = int(height), int(width)
        return save_noise(folder / f"{name}.png", *size, random.randint(1 << 30)), size

    precisions = ["float32", "float16"]
    with contextlib.suppress(NstError):
        precisions.append(resolved_precision("bfloat16", device_of(Config())))
    content, size = picture("content")
    styles = [Style(picture("style")[0])]
    if random.rand() < 0.4:
        styles.append(Style(picture("second")[0], weight=0.5))
    if random.rand() < 0.3:
        styles[0] = replace(styles[0], mask=save_mask(folder / "mask.png", *size))
    config = Config(
        preset=one_of("paper", "fast"),
        method=one_of(*METHODS, *FUSIONS),
        beta=one_of("paper", "paper", "auto"),
        precision=one_of(*precisions),
        optimizer=one_of(*OPTIMIZERS),
        scales=one_of(1, 2),
        margin=one_of(0, 8),
        tile=one_of("off", "off", 1),
        iterations=one_of(1, 2, 4),
        init=one_of("random", "content", "style"),
        keep_colors=one_of("off", "luminance", "match", "after"),
        size="keep",
        weights="builtin",
    )
    suffix = one_of("png", "jpg", "tiff", "webp")
    return Run(content, styles, str(folder / f"out-{number}.{suffix}"), config)


def soak_runs(arguments, folder):
    """Make runs of all kinds in this process, one after another."""
    curve, maker, refused = Curve(10), Maker(), 0
    for number in range(1, arguments.count + 1):
        work = folder / "work"
        work.mkdir()
        run = random_run(work, number)
        if arguments.kit:
            finished = maker(run)
            assert finished.state == "done" or "beta auto" in finished.reason, finished.reason
            refused += finished.state != "done"
        else:
            try:
                runner.run(runner.prepare(run.content, run.styles, run.output, run.config))
            except NstError as error:
                assert "beta auto" in str(error), error
                refused += 1
        shutil.rmtree(work)
        curve.after(number)
    print(f"{arguments.count} runs, of which {refused} were refused")
    return curve.faults(folder)


def soak_view(arguments, folder):
    """Serve the page of a run again and again."""
    curve = Curve(10)
    content = images.to_input(numpy.zeros((16, 16, 3), numpy.uint8))
    config = Config(
        preset="fast", weights="builtin", iterations=1, scales=1, margin=0,
        style_layers="relu1_1", content_layers="relu1_1",
    )  # fmt: skip
    for number in range(1, arguments.count + 1):
        with live.serving("soak", 1, lambda record: images.to_pixels(record.image)) as view:
            transfer(content, -content, config, on_step=view)
        curve.after(number)
    return curve.faults(folder)


def soak_steps(arguments, folder):
    """Make one long run with each optimiser."""
    faults = []
    content, style = (
        images.to_input(numpy.random.RandomState(seed).randint(0, 256, (32, 32, 3)))
        for seed in (1, 2)
    )
    for optimizer in OPTIMIZERS:
        print(f"{optimizer}:")
        curve, moments = Curve(100), [time.perf_counter()]

        def after_step(record, curve=curve, moments=moments):
            curve.after(record.step)
            moments.append(time.perf_counter())

        config = Config(
            optimizer=optimizer, iterations=arguments.count, stop_eps=0, weights="builtin"
        )
        result = transfer(content, style, config, on_step=after_step)
        seconds = [after - before for before, after in zip(moments, moments[1:])]
        first, last = (statistics.median(part) for part in (seconds[:100], seconds[-100:]))
        print(f"{result.steps} steps, {result.stop_reason}: {1e3 * first:.1f} ms a step at first, "
              f"{1e3 * last:.1f} at the end, {last / first:.2f} of it")  # fmt: skip
        faults += [f"{optimizer}: {fault}" for fault in curve.faults(folder)]
    return faults


# The smallest pictures, and only the first layer.
SMALLEST = {
    "weights": "builtin", "size": 16, "style_layers": "relu1_1", "content_layers": "relu1_1",
    "iterations": 2, "denoise": 0, "device": "cpu",
}  # fmt: skip
# Seconds between two kills, at most; and that workers have to end after their parent.
PAUSE, LAST_WORDS = 6.0, 60
# What a batch may end with: done, a run failed, interrupted, or killed.
CODES = {0, 1, 130, 143, -signal.SIGTERM, -signal.SIGKILL}


def soak_batch(arguments, folder):
    """Make many pictures in two processes, which are killed at random, until all are made."""
    random = numpy.random.RandomState(0)
    content, style = (save_noise(folder / f"{name}.png", 16, 16, len(name)) for name in "ab")
    names = [f"{seed}.png" for seed in range(arguments.count)]
    options = "".join(f"{name} = {value!r}\n" for name, value in SMALLEST.items())
    (folder / "batch.toml").write_text(
        f"output = 'out/{{seed}}.png'\n[defaults]\n{options}[grid]\ncontent = {content!r}\n"
        f"style = {style!r}\nseed = {list(range(arguments.count))}\n"
    )
    faults, printed, memory, codes, kills = [], [], [], [], 0
    began = time.perf_counter()
    while not codes or codes[-1] != 0:
        with open(folder / "printed", "w+") as output, open(folder / "errors", "w+") as errors:
            batch = subprocess.Popen(
                [sys.executable, "-m", "nst_cli", "batch", "batch.toml", "--jobs", "2", "-q"],
                cwd=folder, stdout=output, stderr=errors,
            )  # fmt: skip
            workers = []
            while batch.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    batch.wait(random.uniform(0, PAUSE))
                workers = children_of(batch.pid) or workers
                memory.append([memory_of(batch.pid), *map(memory_of, workers)])
                if batch.poll() is None and workers and kills < arguments.kills:
                    # Its workers mostly, and now and then the batch itself.
                    some = batch.pid if random.rand() < 0.1 else random.choice(workers)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(some), [signal.SIGKILL, signal.SIGTERM][random.randint(2)])
                        kills += 1
            codes.append(batch.returncode)
            printed += (folder / "printed").read_text().split()
            message = (folder / "errors").read_text()
        if batch.returncode not in CODES or "Traceback" in message:
            faults.append(f"exit code {batch.returncode}: {message[-500:]}")
            break
        end = time.monotonic() + LAST_WORDS
        while any(memory_of(worker) for worker in workers) and time.monotonic() < end:
            time.sleep(0.1)
        faults += [f"worker {worker} is left" for worker in workers if memory_of(worker)]
    seconds = time.perf_counter() - began
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    print(f"{arguments.count} pictures, {kills} kills, exit codes {counts}, "
          f"{1e3 * seconds / arguments.count:.0f} ms a picture")  # fmt: skip
    for what, place in (("batch", 0), ("first worker", 1)):
        curve = [round(row[place] / 1e6) for row in memory if len(row) > place and row[place]]
        print(
            f"resident MB of the {what}: {' '.join(map(str, curve[:: max(1, len(curve) // 40)]))}"
        )
    return faults + faults_of(folder, names, printed, random)


def faults_of(folder, names, printed, random):
    """Return what is wrong with the pictures of a batch: missing, extra, other or made twice."""
    faults = []
    expected = {name + end for name in names for end in ("", ".json", ".jsonl")}
    there = {path.name for path in (folder / "out").iterdir()}
    faults += [f"missing: {name}" for name in sorted(expected - there)[:5]]
    faults += [f"left: {name}" for name in sorted(there - expected)[:5]]
    if twice := sorted({path for path in printed if printed.count(path) > 1}):
        faults.append(f"made twice: {', '.join(twice[:5])}")
    maker = Maker()
    for name in random.permutation(names)[:100]:
        path = str(folder / "undisturbed.png")
        seed = int(name.partition(".")[0])
        config = Config(**SMALLEST, seed=seed)
        maker(Run(str(folder / "a.png"), str(folder / "b.png"), path, config))
        actual, expected_pixels = map(
            numpy.asarray, map(Image.open, (folder / "out" / name, path))
        )
        if not numpy.array_equal(actual, expected_pixels):
            faults.append(f"{name} differs from an undisturbed run")
    return faults


SOAKS = {"runs": soak_runs, "view": soak_view, "steps": soak_steps, "batch": soak_batch}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("soak", choices=SOAKS)
    parser.add_argument("--count", type=int, help="runs, steps or pictures")
    parser.add_argument("--kills", type=int, default=100, help="of processes of the batch")
    parser.add_argument("--kit", action="store_true", help="keep networks from run to run")
    arguments = parser.parse_args()
    if arguments.count is None:
        arguments.count = 2000 if arguments.soak in ("steps", "batch") else 200
    with tempfile.TemporaryDirectory(prefix="nst-soak-") as folder:
        place = Path(folder)
        # Whatever anything here leaves among temporary files is left there.
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        faults = SOAKS[arguments.soak](arguments, place)
    for fault in faults:
        print(f"FAULT: {fault}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
