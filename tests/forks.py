"""Runs many commands of nst in real processes that need not load MXNet anew.

`python forks.py` loads everything once. For each line of JSON on its stdin it forks a process that
runs one command, and prints a line of JSON with what became of it. With ``faults.c`` preloaded,
the command can be spoilt at any of its calls that change files.
"""

import contextlib
import ctypes
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from processes import environment, started


class Server:
    """Processes that start at once.

    Parameters
    ----------
    library : path-like
        ``faults.c``, compiled.
    """

    def __init__(self, stack, library):
        command = [sys.executable, __file__]
        variables = environment(LD_PRELOAD=library)
        self._process = stack.enter_context(
            started(command, env=variables, text=True, stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE)
        )  # fmt: skip

    def run(self, folder, *words, **options):
        """Run a command to its end.

        Parameters
        ----------
        folder : path-like
            The working folder; ``cache`` beside it holds the checkpoints.
        *words : str
            The command.
        **options
            ``at`` and ``error`` as for `arm` of ``faults.c``; ``clock``, seconds by which the
            wall clock is wrong, or ``jumping`` for one that is wrong by years now and then;
            ``user``, a number; ``file_size``, the largest file in bytes.

        Returns
        -------
        dict
            ``code``, as of `subprocess`; ``out``; ``err``; ``calls``, the number of calls that
            change files.
        """
        task = {"folder": str(folder), "words": [str(word) for word in words], **options}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _serve():
    from nst_cli import engine

    engine.load()
    # Loads what commands import late; another user may not read it.
    "".encode("utf-8-sig")
    import nst_cli.cli
    import nst_cli.runs.batch
    import nst_cli.runs.replay
    import nst_cli.views.live  # noqa: F401
    from nst_cli.weights import Weights

    # Computed once and kept.
    print(Weights.find("builtin").sha256, file=sys.stderr)

    for line in sys.stdin:
        print(json.dumps(_result_of(json.loads(line))), flush=True)


def _result_of(task):
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        child = os.fork()
        if not child:
            # The child never returns to the loop.
            try:
                _work(task, *files)
            finally:
                os._exit(99)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = [Path(f"/proc/self/fd/{file.fileno()}").read_text() for file in files]
    return {"code": code, "out": texts[0], "err": texts[1], "calls": int(texts[2] or 0)}


def _work(task, out, err, calls):
    from nst_cli.cli import main

    library = ctypes.CDLL(None)
    os.chdir(task["folder"])
    os.environ["XDG_CACHE_HOME"] = os.path.join(task["folder"], os.pardir, "cache")
    os.environ.pop("LD_PRELOAD", None)
    null = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((null, out.fileno(), err.fileno())):
        os.dup2(descriptor, number)
    clock = task.get("clock", 0)
    if clock == "jumping":
        threading.Thread(target=_jump, args=(library,), daemon=True).start()
    else:
        library.shift_clock(ctypes.c_long(clock))
    if "file_size" in task:
        resource.setrlimit(resource.RLIMIT_FSIZE, (task["file_size"],) * 2)
    if "user" in task:
        os.setgroups([])
        os.setgid(task["user"])
        os.setuid(task["user"])
    library.arm(task.get("at", 0), task.get("error", 0))
    code = 0
    try:
        main(task["words"], prog_name="nst")
    except SystemExit as ending:
        code = ending.code or 0
    except BaseException:  # noqa: BLE001
        code = 99
        traceback.print_exc()
    count = library.calls()
    os.write(calls.fileno(), str(count).encode())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _jump(library):
    """Turn the clock by years, forwards and backwards, every few milliseconds."""
    for shift in itertools.cycle((0, 10**9, -(10**9))):
        library.shift_clock(ctypes.c_long(shift))
        time.sleep(0.005)


if __name__ == "__main__":
    _serve()
