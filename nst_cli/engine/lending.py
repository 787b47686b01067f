"""Gives MXNet 1.9.1, during its import, the names that newer Pythons and NumPys lack."""

import contextlib
import importlib
import importlib.machinery
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Optional

import numpy

# The constants among the names of NumPy that MXNet reads during its import. The other missing
# names are functions that MXNet re-exports and nst never calls.
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
def lent() -> Iterator[None]:
    """Add the missing names inside the block, and remove them again afterwards."""
    with warnings.catch_warnings():
        # If warnings are errors, one about an escape sequence would stop the import.
        warnings.simplefilter("ignore")
        with _numpy_names(), _distutils(), _docstrings():
            yield


def ignore_warnings() -> None:
    """Ignore MXNet's own warnings from now on, even if the user has made warnings errors."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"mxnet(\.|$)")


@contextlib.contextmanager
def _numpy_names() -> Iterator[None]:
    """Give MXNet, and no other package, the names that NumPy has removed."""
    original = vars(numpy).get("__getattr__")

    def lookup(name: str) -> Any:
        try:
            if original:
                return original(name)
        except AttributeError:
            pass
        if _is_mxnet(sys._getframe(1)) and not name.startswith("_"):
            return _CONSTANTS[name] if name in _CONSTANTS else _removed_function(name)
        raise AttributeError(f"module 'numpy' has no attribute {name!r}")

    vars(numpy)["__getattr__"] = lookup
    try:
        yield
    finally:
        if original:
            vars(numpy)["__getattr__"] = original
        else:
            del vars(numpy)["__getattr__"]


def _is_mxnet(frame: types.FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] == "mxnet"


def _removed_function(name: str) -> Callable[..., Any]:
    def function(*arguments: Any, **named: Any) -> Any:
        raise AttributeError(f"NumPy {numpy.__version__} has no function {name}.")

    function.__name__ = name
    return function


@contextlib.contextmanager
def _distutils() -> Iterator[None]:
    """Provide ``distutils.version``, which Python 3.12 lacks unless setuptools is installed."""
    try:
        importlib.import_module("distutils.version")
    except ImportError:
        names = ["distutils", "distutils.version"]
    else:
        names = []
    package: Any = types.ModuleType("distutils")
    module: Any = types.ModuleType("distutils.version")
    module.LooseVersion = module.StrictVersion = _Version
    package.version = module
    sys.modules.update(zip(names, (package, module)))
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


class _Version(tuple[int, ...]):
    """The ordering of ``distutils.version.LooseVersion``, as far as MXNet uses it."""

    def __new__(cls, text: str) -> "_Version":  # noqa: PYI034 - Self needs Python 3.11
        return super().__new__(cls, (int(part) for part in text.split(".")[:2]))


@contextlib.contextmanager
def _docstrings() -> Iterator[None]:
    """Keep MXNet's docstrings under ``python -OO``, because its import concatenates them."""
    if sys.flags.optimize < 2:
        yield
        return
    sys.meta_path.insert(0, _WithDocstrings)
    try:
        yield
    finally:
        sys.meta_path.remove(_WithDocstrings)


class _WithDocstrings:
    """Finds MXNet's modules where Python does, but compiles them with their docstrings."""

    @staticmethod
    def find_spec(
        name: str,
        path: Optional[Sequence[str]] = None,
        target: Optional[types.ModuleType] = None,
    ) -> Optional[importlib.machinery.ModuleSpec]:
        if name.partition(".")[0] != "mxnet":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Compiler(spec.loader.name, spec.loader.path)
        return spec


class _Compiler(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        # Bypass the bytecode cache, which for -OO has no docstrings.
        path = self.get_filename(fullname)
        return compile(self.get_data(path), path, "exec", dont_inherit=True, optimize=1)
