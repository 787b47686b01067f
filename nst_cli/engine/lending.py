"""Lends MXNet 1.9.1, while it is imported, what newer Pythons and NumPys no longer have."""

import contextlib
import importlib
import importlib.machinery
import math
import sys
import types
import warnings

import numpy

# Names of NumPy that MXNet reads while it is imported and that have a value worth keeping. All
# others are functions, which MXNet re-exports and nst never calls.
_CONSTANTS = {
    "bool": bool,  # gone from NumPy 1.24 to 1.26
    "PZERO": 0.0,
    "NZERO": -0.0,
    "PINF": math.inf,
    "NINF": -math.inf,
    "Inf": math.inf,
    "NAN": math.nan,
    "NaN": math.nan,
}


@contextlib.contextmanager
def lent():
    """Lend what is missing, and take it back: other packages see nothing of it afterwards."""
    with warnings.catch_warnings():
        # Where warnings are errors, one about an escape sequence would stop the import.
        warnings.simplefilter("ignore")
        with _numpy_names(), _distutils(), _docstrings():
            yield


def ignore_warnings():
    """Drop MXNet's own warnings from here on, also where the user has made them errors."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mxnet(\.|$)")


@contextlib.contextmanager
def _numpy_names():
    """Answer MXNet, and nobody else, when it asks NumPy for a name that is gone."""
    usual = vars(numpy).get("__getattr__")

    def ask(name):
        try:
            if usual:
                return usual(name)
        except AttributeError:
            pass
        if _of_mxnet(sys._getframe(1)) and not name.startswith("_"):
            return _CONSTANTS[name] if name in _CONSTANTS else _gone(name)
        raise AttributeError(f"module 'numpy' has no attribute {name!r}")

    numpy.__getattr__ = ask
    try:
        yield
    finally:
        if usual:
            numpy.__getattr__ = usual
        else:
            del numpy.__getattr__


def _of_mxnet(frame):
    return frame.f_globals.get("__name__", "").partition(".")[0] == "mxnet"


def _gone(name):
    def function(*arguments, **named):
        raise AttributeError(f"NumPy {numpy.__version__} has no function {name}.")

    function.__name__ = name
    return function


@contextlib.contextmanager
def _distutils():
    """Provide ``distutils.version``, which Python 3.12 has not unless setuptools brings it."""
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        names = ["distutils", "distutils.version"]
    else:
        names = []
    package, module = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    module.LooseVersion = module.StrictVersion = _Version
    package.version = module
    sys.modules.update(zip(names, (package, module)))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


class _Version(tuple):
    """The ordering of ``distutils.version.LooseVersion``, as far as MXNet asks for it."""

    def __new__(cls, text):
        return super().__new__(cls, (int(part) for part in text.split(".")[:2]))


@contextlib.contextmanager
def _docstrings():
    """Keep MXNet's docstrings under ``python -OO``: its import joins them to one another."""
    if sys.flags.optimize < 2:
        yield
        return
    sys.meta_path.insert(0, _WithDocstrings)
    try:
        yield
    finally:
        sys.meta_path.remove(_WithDocstrings)


class _WithDocstrings:
    """Finds MXNet's modules where Python does, and compiles them with their docstrings."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] != "mxnet":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Compiler(spec.loader.name, spec.loader.path)
        return spec


class _Compiler(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname):
        # Not from the cache, nor into it: what is cached for -OO has no docstrings.
        path = self.get_filename(fullname)
        return compile(self.get_data(path), path, "exec", dont_inherit=True, optimize=1)
