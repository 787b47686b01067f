"""Fixtures that several test modules use, and the environment variables of the tests.

- ``NST_GOLDEN``, ``NST_PICTURES``, ``NST_WEIGHTS`` and ``NST_GPU`` name files and folders outside
  the repository; tests that need one are skipped without it.
- ``NST_REQUIRE`` names kinds of tests that fail instead of being skipped.
- ``NST_TEST_DEVICE=cpu:1`` makes tests compute on that device. A test that creates an array on
  another device fails, unless it is marked `devices`.

A test that leaves a process behind fails.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy
import processes
import pytest
from packages import forget

from nst_cli import engine
from nst_cli.synthesis import vgg
from nst_cli.weights import BUILTIN, Weights
from nst_cli.weights.params import CONVOLUTIONS

#: The kinds of tests that NST_REQUIRE may name, each with its marker or fixture.
KINDS = {
    "browser": "browser",
    "compiler": "compiled",
    "cuda": "cuda_build",
    "golden": "golden",
    "gpu": "gpu",
    "pictures": "pictures",
    "weights": "real_weights",
}

# Browsers that support what the pages need; Playwright's own is preferred.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def required():
    """Return the kinds of tests that fail instead of being skipped."""
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
    """Make a skipped test fail if NST_REQUIRE names its kind."""
    report = (yield).get_result()
    marks = {mark.name for mark in item.iter_markers()}
    kinds = [kind for kind in required() if KINDS[kind] in marks | set(item.fixturenames)]
    if report.skipped and kinds and not hasattr(report, "wasxfail"):
        path, line, reason = report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason}, and NST_REQUIRE names {', '.join(kinds)}"


@pytest.fixture(autouse=True)
def no_process_is_left():
    """End the processes that a test leaves behind, and fail the test."""
    before = processes.children()
    yield
    left = processes.end_all_but(before)
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left_at_the_end():
    """End the processes that fixtures of modules leave behind, and fail the run."""
    before = processes.children()
    yield
    left = processes.end_all_but(before)
    assert not left, f"left behind: {left}"


@pytest.fixture
def contexts(monkeypatch):
    """The names of the contexts on which the test creates arrays."""
    array, names = engine.nd.NDArray, set()
    initialise = array.__init__

    def recorded(self, *arguments, **keywords):
        initialise(self, *arguments, **keywords)
        names.add(str(self.context))

    monkeypatch.setattr(array, "__init__", recorded)
    return names


@pytest.fixture(autouse=True)
def one_device(request, monkeypatch):
    """Compute on the device that ``NST_TEST_DEVICE`` names, and on no other."""
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


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """An empty folder on Python's path; after the test, its packages are forgotten."""
    folder = tmp_path / "packages"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    forget()
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]
    forget()


@pytest.fixture(scope="session")
def golden():
    """The folder with recorded runs of the authors' code: ``poly.npz`` and so on."""
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
def file(tmp_path):
    """A function that writes bytes to a file and returns its path."""

    def write(content, name="a.bin"):
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    return write


@pytest.fixture
def rng():
    """A seeded random generator."""
    return numpy.random.default_rng(0)


@pytest.fixture
def save(tmp_path):
    """A function that saves a Pillow image, or bytes, under a name and returns the path."""

    def save_as(name, content, **options):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path, **options)
        return str(path)

    return save_as


@pytest.fixture(scope="session")
def small_weights(tmp_path_factory):
    """A file of VGG-19's shapes: random down to conv2_1, zeros below."""
    from test_weights import vgg_shapes, write_file

    random, values = numpy.random.RandomState(0), {}
    shapes = vgg_shapes()
    for layer in ("conv1_1", "conv1_2", "conv2_1"):
        shape = shapes[f"arg:{layer}_weight"]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        values[f"arg:{layer}_weight"] = random.normal(0, scale, shape).astype("<f4")
    return write_file(tmp_path_factory.mktemp("weights") / "vgg19.params", shapes, values)


@pytest.fixture
def pair(tmp_path):
    """A folder with a content and a style picture."""
    folder = tmp_path / "work"
    folder.mkdir()
    processes.save_pair(folder)
    return folder


@pytest.fixture
def small_network(monkeypatch):
    """Replace the weights by a random network down to conv2_2."""
    random, arrays = numpy.random.RandomState(0), {}
    for name in vgg.convolutions(["relu2_2"]):
        shape = CONVOLUTIONS[name]
        scale = (2 / numpy.prod(shape[1:])) ** 0.5
        arrays[f"{name}_weight"] = random.normal(scale=scale, size=shape)
        arrays[f"{name}_bias"] = random.normal(scale=0.1, size=shape[0])

    def find(given=None):
        return Weights() if given == BUILTIN else Weights(Path(given or "a file"))

    monkeypatch.setattr(Weights, "find", find)
    monkeypatch.setattr(Weights, "load", lambda self: arrays)
    monkeypatch.setattr(Weights, "sha256", "0" * 64)


@pytest.fixture(scope="session")
def cuda_build():
    """The folder that ``nst gpu install`` filled."""
    return _named_by("NST_GPU")


@pytest.fixture(scope="session")
def compiled(tmp_path_factory):
    """A function that compiles a C file or text to a shared library and returns its path."""
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
    """The folder of a libcuda.so.1 that reports the cards in FAKE_CARDS; see libcuda.c."""
    return compiled(Path(__file__).with_name("libcuda.c"), "libcuda.so.1").parent


@pytest.fixture(scope="module")
def browser():
    """A Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as session:
        program = session.chromium.executable_path
        if not os.path.exists(program):
            program = next(filter(None, map(shutil.which, BROWSERS)), None)
        if not program:
            pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is here")
        with contextlib.closing(session.chromium.launch(executable_path=program)) as browser:
            yield browser


def _named_by(variable):
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set")
    path = Path(value).absolute()
    # A user who sets the variable wants the test to run, so a wrong path fails.
    assert path.exists(), f"{variable} names {path}, which does not exist"
    return path
