"""Runs the function of a fuzzer over many inputs, which atheris makes from seeds."""

import argparse
import contextlib
import hashlib
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

# Seconds of processor time for one input, and bytes of the process, of which imports take some.
MOST_SECONDS, MOST_BYTES = 1.0, 1 << 30
_LEAST_SECONDS = 0.1
# Characters of a message.
LONGEST_MESSAGE = 2000
# Seconds after which an endless loop is ended. They pass while the process is stopped, too.
_PATIENCE = 1800
_MEGABYTES = 2048


class Find(Exception):
    """An input that is handled, but not as it should be."""


def instrumented(*packages):
    """Return a context that measures coverage of the modules imported in it, under atheris."""
    try:
        import atheris
    except ImportError:
        return contextlib.nullcontext()
    return atheris.instrument_imports(include=list(packages))


def check(try_one, data):
    """Handle one input; raise if nst does anything but accept it or refuse it in one line."""
    # Here, because what is imported before `instrumented` is not measured.
    from nst_cli.errors import NstError, shown

    start = time.perf_counter()
    try:
        try_one(data)
    except NstError as error:
        message = shown(error)
        if not message or len(message) > LONGEST_MESSAGE or len(message.splitlines()) > 1:
            raise Find(f"a message of {len(message)} characters: {message[:200]!r}") from error
    seconds = time.perf_counter() - start
    # Asking takes milliseconds, and memory is not filled in less time.
    if seconds > _LEAST_SECONDS and _peak() > MOST_BYTES:
        raise Find(f"the process has come to take {_peak() >> 20} MiB")
    # The process may have been stopped, or others had its core.
    if seconds > MOST_SECONDS and _seconds(try_one, data) > MOST_SECONDS:
        raise Find(f"it takes more than {MOST_SECONDS:g} seconds")


def _seconds(try_one, data):
    """Return the processor's time for one input."""
    from nst_cli.errors import NstError

    start = time.process_time()
    with contextlib.suppress(NstError):
        try_one(data)
    return time.process_time() - start


def file_of(data, name="input"):
    """Write an input to a file in the working folder; return its name."""
    Path(name).write_bytes(data)
    return name


@contextlib.contextmanager
def workplace():
    """Work in an empty folder in memory, where the user has no cache and no weights."""
    from nst_cli import machine

    before = Path.cwd()
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="nst-fuzz-", dir=base) as folder:
        os.chdir(folder)
        os.environ.update(XDG_CACHE_HOME=str(Path(folder, "cache")), MPLCONFIGDIR=folder)
        # MXNet's threads take longer to wake up than to compute.
        os.environ.setdefault("MXNET_ENGINE_TYPE", "NaiveEngine")
        os.environ.pop("NST_WEIGHTS", None)
        # Asking the system takes longer than an input.
        machine.free_memory = lambda: 1 << 33
        try:
            yield Path(folder)
        finally:
            os.chdir(before)


def main(module, longest, repaired=None):
    """Fuzz a module from the command line: ``[--count N] [--folder DIR] [FILE...]``.

    Parameters
    ----------
    module : dict
        The globals of a fuzzer.
    longest : int
        Bytes of the longest input.
    repaired : callable, optional
        Takes an input and a `random.Random`; returns it with checksums that are right, so that
        the fuzzer gets beyond them.
    """
    parser = argparse.ArgumentParser(description=module["__doc__"])
    parser.add_argument("--count", type=int, default=100_000, help="inputs to try")
    parser.add_argument("--folder", default="build/fuzz", help="for the corpus and the finds")
    parser.add_argument("files", nargs="*", help="try these inputs alone")
    options = parser.parse_args()
    inputs = [Path(path).read_bytes() for path in options.files]
    place = Path(options.folder, Path(module["__file__"]).stem).absolute()
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    with workplace():
        seeds = module["seeds"]()
        for data in inputs:
            check(module["try_one"], data)
        if not inputs:
            _fuzz(module, place, seeds, longest, repaired, options.count)


def _fuzz(module, place, seeds, longest, repaired, count):
    import atheris

    # Finds of earlier runs are tried again.
    for data in (*seeds, *(find.read_bytes() for find in place.glob("*-*"))):
        (place / "corpus" / hashlib.sha1(data).hexdigest()).write_bytes(data)
    words = "".join(f'"{_quoted(word)}"\n' for word in module["WORDS"])
    (place / "words").write_text(words)
    arguments = [
        sys.argv[0], f"-runs={count}", f"-max_len={longest}", f"-dict={place}/words",
        f"-artifact_prefix={place}/", f"-timeout={_PATIENCE}", f"-rss_limit_mb={_MEGABYTES}",
        "-print_final_stats=1", str(place / "corpus"),
    ]  # fmt: skip

    def mutated(data, most, seed):
        generator = random.Random(seed)
        data = atheris.Mutate(data, most)
        return repaired(data, generator)[:most] if generator.random() < 0.8 else data

    atheris.Setup(
        arguments,
        lambda data: check(module["try_one"], data),
        **({"custom_mutator": mutated} if repaired else {}),
    )
    atheris.Fuzz()


def _quoted(word):
    return "".join(f"\\x{byte:02x}" for byte in word)


def _peak():
    """Return the most bytes of memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
