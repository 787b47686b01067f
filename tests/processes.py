"""Runs the command line in real processes, for the tests of its commands."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
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

# The same for runs in the process of the tests.
TINY = {
    "size": 16,
    "style_layers": "relu1_1",
    "content_layers": "relu1_1",
    "iterations": 2,
    "denoise": 0,
    "device": "cpu",
    "weights": "builtin",
}

# Seconds. Long enough for any of these processes on a busy machine; one that takes longer hangs.
PATIENCE = 600

# Seconds that a process has to end after its parent.
LAST_WORDS = 30

_END_BY_DEFAULT = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def environment(**variables):
    """Return the variables of a process; those given as None are removed."""
    defaults = {
        "PYTHONPATH": str(Path(nst_cli.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        # Not even root can make this folder.
        "XDG_CACHE_HOME": os.path.join(os.devnull, "none"),
        "MPLCONFIGDIR": os.path.join(tempfile.gettempdir(), "nst-tests-matplotlib"),
        "NST_WEIGHTS": None,
        "no_proxy": "*",
    }
    merged = {**os.environ, **defaults, **variables}
    return {name: str(value) for name, value in merged.items() if value is not None}


@contextlib.contextmanager
def started(command, **options):
    """Start a process in its own session; end it and its children after the block.

    Parameters
    ----------
    command : list of str
    **options
        As `subprocess.Popen` takes them.
    """
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            # Its children too, which may outlive it. The group may be gone already.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def run(command, **options):
    """Run a process to its end, and capture what it writes.

    Parameters
    ----------
    command : list of str
    **options
        As `subprocess.Popen` takes them.

    Returns
    -------
    subprocess.CompletedProcess
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(command, **pipes, **options) as process:
        output = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(command, process.returncode, *output)


def nst(folder, *arguments, program=("-m", "nst_cli"), **variables):
    """Run the command in a folder to its end; `program` replaces the arguments of Python."""
    command = [sys.executable, *program, *map(str, arguments)]
    return run(command, cwd=folder, env=environment(**variables), text=True)


def wait_for(condition, process=None):
    """Wait until `condition()` holds, while `process` runs."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process is None or process.poll() is None, "the process has ended"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def hand_down_default_signals():
    """Let the processes that this one starts receive signals that it ignores.

    A process that was started in the background of a shell, by nohup or as a service ignores some
    signals, and its children inherit that. They do not inherit a handler, so this process gets
    handlers that do nothing.
    """
    for number in _END_BY_DEFAULT:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


def adopt_orphans():
    """Make this process adopt descendants whose parent ends; only Linux can do that.

    Otherwise a process that leaves its session and loses its parent would be out of sight.
    """
    with contextlib.suppress(OSError, AttributeError):
        # From the C library's sys/prctl.h.
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def children():
    """Return the children of this process that have not ended, by id: their command lines.

    Without Linux's ``/proc`` there are none. Python's own helper of `multiprocessing` ends with
    this process and is left out.
    """
    lines = {}
    for task in Path("/proc/self/task").glob("*/children"):
        # Threads and processes end while this looks at them.
        with contextlib.suppress(OSError):
            for pid in task.read_text().split():
                with contextlib.suppress(OSError):
                    lines[int(pid)] = _line_of(Path("/proc", pid))
    return {pid: line for pid, line in lines.items() if line is not None}


def _line_of(process):
    """Return a process's command line, or None if it is not to be counted."""
    # After the name in parentheses; Z has ended, and its exit code was not yet read.
    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
    line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return None if state in "ZX" or "multiprocessing.resource_tracker" in line else line.strip()


def end_all_but(before):
    """Return the command lines of children that are not in `before`, after killing them.

    Processes that are about to end because their parent ended get time to do so.
    """
    end = time.monotonic() + LAST_WORDS
    while True:
        left = {pid: line for pid, line in children().items() if pid not in before}
        if not left or time.monotonic() > end:
            break
        time.sleep(0.02)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return list(left.values())


def content_of(folder):
    """Return everything below a folder, by relative path: bytes, a link's target, or None."""
    contents = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_dir():
            content = None
        else:
            content = path.read_bytes()
        contents[str(path.relative_to(folder))] = content
    return contents


def error_of(done, code):
    """Check exit code and output of a failed process; return its one line of error."""
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
    """Save a content picture, partly transparent, and a style picture."""
    content = numpy.array(noise(1, 24, 32, 4))
    content[..., 3] = 255
    content[:12, :, 3] = 51
    Image.fromarray(content).save(folder / "content.png")
    noise(2, 40, 30).save(folder / "style.png")
