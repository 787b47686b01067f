"""What several test modules need; from outside the repository by an environment variable.

No test leaves a process behind; one that does fails. NST_REQUIRE names kinds of tests that fail
where they would be skipped.

With ``NST_TEST_DEVICE=cpu:1`` what a test computes in its own process is computed there, and it
fails if it makes an array elsewhere. Tests marked `devices` choose theirs themselves.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy
import processes
import pytest

from nst_cli import engine, weights
from nst_cli.synthesis import vgg
from nst_cli.weights.params import CONVOLUTIONS

#: What NST_REQUIRE may name, and the marker or fixture of the tests of that kind.
KINDS = {
    "browser": "browser",
    "compiler": "compiled",
    "cuda": "cuda_build",
    "golden": "golden",
    "gpu": "gpu",
    "pictures": "pictures",
    "weights": "real_weights",
}


def required():
    """Return the kinds of tests that fail where they would be skipped."""
    words = {word.strip() for word in os.environ.get("NST_REQUIRE", "").split(",")} - {""}
    unknown = sorted(words - set(KINDS))
    if unknown:
        raise pytest.UsageError(
            f"NST_REQUIRE names {', '.join(unknown)}; the kinds of tests are {', '.join(KINDS)}."
        )
    return words


def pytest_configure(config):
    required()
    processes.hand_down_default_signals()
    processes.adopt_orphans()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """Turn the skip of a test whose kind NST_REQUIRE names into a failure."""
    report = (yield).get_result()
    marks = {mark.name for mark in item.iter_markers()}
    kinds = [kind for kind in required() if KINDS[kind] in marks | set(item.fixturenames)]
    if report.skipped and kinds and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason}, and NST_REQUIRE names {', '.join(kinds)}"


@pytest.fixture(autouse=True)
def no_process_is_left():
    """Fail a test that leaves a process behind, and end the process."""
    before = processes.children()
    yield
    left = processes.end_all_but(before)
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left_at_the_end():
    """Fail a run of tests of which a process is left, by a fixture of a module or session."""
    before = processes.children()
    yield
    left = processes.end_all_but(before)
    assert not left, f"left behind: {left}"


@pytest.fixture
def contexts(monkeypatch):
    """The names of the contexts on which arrays are made from here on."""
    array, names = engine.nd.NDArray, set()
    make = array.__init__

    def made(self, *arguments, **others):
        make(self, *arguments, **others)
        names.add(str(self.context))

    monkeypatch.setattr(array, "__init__", made)
    return names


@pytest.fixture(autouse=True)
def one_device(request, monkeypatch):
    """Obey ``NST_TEST_DEVICE``."""
    device = os.environ.get("NST_TEST_DEVICE")
    if not device or request.node.get_closest_marker("devices"):
        yield
        return
    contexts, context = request.getfixturevalue("contexts"), engine.context
    allowed = {str(context(device))}

    def replaced(name="cpu", *choices, **named):
        return context(device if name in ("auto", "cpu") else name, *choices, **named)

    monkeypatch.setattr(engine, "context", replaced)
    yield
    assert contexts <= allowed


@pytest.fixture(scope="session")
def golden():
    """The folder of the runs of the authors' code: ``poly.npz`` and so on."""
    return _named_by("NST_GOLDEN")


@pytest.fixture(scope="session")
def pictures():
    """The folder of the paper's pictures."""
    return _named_by("NST_PICTURES")


@pytest.fixture(scope="session")
def real_weights():
    """The file of VGG-19's parameters."""
    return _named_by("NST_WEIGHTS")


@pytest.fixture
def small_network(monkeypatch):
    """Stand in for the weights with a random network down to conv2_2."""
    random, arrays = numpy.random.RandomState(0), {}
    for name in vgg.convolutions(["relu2_2"]):
        shape = CONVOLUTIONS[name]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        arrays[f"{name}_weight"] = random.normal(scale=scale, size=shape)
        arrays[f"{name}_bias"] = random.normal(scale=0.1, size=shape[0])
    monkeypatch.setattr(weights, "find", lambda given: "a file")
    monkeypatch.setattr(weights, "load", lambda which: arrays)


@pytest.fixture(scope="session")
def cuda_build():
    """The folder that ``nst gpu install`` filled."""
    return _named_by("NST_GPU")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """Compile a C file, or a text, to a shared library of a name; return its path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("there is no C compiler")

    def compile_it(source, name):
        path = tmp_path_factory.mktemp("compiled") / name
        command = [compiler, "-shared", "-fPIC", "-o", str(path), "-x", "c"]
        if isinstance(source, Path):
            subprocess.run([*command, str(source)], check=True)
        else:
            subprocess.run([*command, "-"], input=source.encode(), check=True)
        return path

    return compile_it


@pytest.fixture(scope="session")
def fake_driver(compiled):
    """The folder of a libcuda.so.1 that answers as FAKE_CARDS and so on say (libcuda.c)."""
    return compiled(Path(__file__).with_name("libcuda.c"), "libcuda.so.1").parent


def _named_by(variable):
    place = os.environ.get(variable)
    if not place:
        pytest.skip(f"{variable} is not set")
    path = Path(place).absolute()
    # Whoever sets it wants the test to run: a wrong path is a failure, never a skip.
    assert path.exists(), f"{variable} names {path}, which is not there"
    return path
