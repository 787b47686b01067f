"""The CUDA build of MXNet, in a folder of its own with the libraries of NVIDIA's that it needs.

The build and the installed MXNet are packages of one name, so they cannot share an environment.
A process loads one of them: the choice is made before MXNet is imported. If MXNet 2 is installed,
it is used for every device.
"""

import contextlib
import ctypes
import importlib
import json
import os
import sys
from pathlib import Path

from ...errors import EngineError
from .. import environment, mxnet2
from . import driver

#: Names the folder in place of the usual one.
VARIABLE = "NST_GPU"

# The last release of MXNet, and the newest libraries that have the names it was linked with.
PACKAGES = (
    "mxnet-cu117==1.9.1",
    "nvidia-cublas-cu11==11.11.3.6",
    "nvidia-cuda-nvrtc-cu11==11.8.89",
    "nvidia-cuda-runtime-cu11==11.8.89",
    "nvidia-cudnn-cu11==8.9.6.50",
    "nvidia-cufft-cu11==10.9.0.58",
    "nvidia-curand-cu11==10.3.0.86",
    "nvidia-cusolver-cu11==11.4.1.48",
    "nvidia-cusparse-cu11==11.7.5.86",
    "nvidia-nccl-cu11==2.21.5",
    "nvidia-nvtx-cu11==11.8.86",
)

#: The file that is there once all is, and says what it is.
MARK = "nst-gpu.json"

_LIBRARY = "mxnet/libmxnet.so"

#: What MXNet's library needs, in an order in which each finds the ones that it needs itself.
#: cuDNN would open its parts by name, and another cuDNN on the machine could come first.
LIBRARIES = (
    "nvidia/cuda_runtime/lib/libcudart.so.11.0",
    "nvidia/cuda_nvrtc/lib/libnvrtc.so.11.2",
    "nvidia/nvtx/lib/libnvToolsExt.so.1",
    "nvidia/cublas/lib/libcublasLt.so.11",
    "nvidia/cublas/lib/libcublas.so.11",
    "nvidia/cufft/lib/libcufft.so.10",
    "nvidia/curand/lib/libcurand.so.10",
    "nvidia/cusparse/lib/libcusparse.so.11",
    "nvidia/cusolver/lib/libcusolver.so.11",
    "nvidia/nccl/lib/libnccl.so.2",
    "nvidia/cudnn/lib/libcudnn_ops_infer.so.8",
    "nvidia/cudnn/lib/libcudnn_ops_train.so.8",
    "nvidia/cudnn/lib/libcudnn_cnn_infer.so.8",
    "nvidia/cudnn/lib/libcudnn_cnn_train.so.8",
    "nvidia/cudnn/lib/libcudnn.so.8",
)


def folder():
    """Return the folder that the CUDA build has or would have, as an absolute Path.

    None if none is named and the user has no home folder.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification tells programs to ignore a relative path.
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.local/share")
    return Path(base, "nst", "gpu") if os.path.isabs(base) else None


def packages(place):
    """Return what is installed in the folder `place`, as in `PACKAGES`; None where nothing is."""
    packages = _mark(place).get("packages")
    return tuple(packages) if isinstance(packages, list) else None


def foreign(place):
    """Return the name of something in the folder `place` that `install` did not put there.

    None where all is its own, or there is no such folder; the place itself where it is a file.
    """
    place = Path(place)
    if not place.is_dir():
        return place.name if place.exists() else None
    entries = _mark(place).get("entries")
    own = {MARK, *map(str, entries if isinstance(entries, list) else ())}
    return next((name for name in sorted(os.listdir(place)) if name not in own), None)


def _mark(place):
    """Return what `MARK` says in the folder `place`; an empty dict where that is nothing."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        document = json.loads(Path(place, MARK).read_text("utf-8"))
        if isinstance(document, dict):
            return document
    return {}


def find():
    """Return the folder of the CUDA build, or None where it is not installed.

    Raises
    ------
    EngineError
        What is there is of another version, or NST_GPU names a folder that has it not.
    """
    place = folder()
    if place is None:
        return None
    found = packages(place)
    if found == PACKAGES:
        return place
    if found:
        raise EngineError(
            f"The CUDA build in {place} is not the one that this version of nst needs: renew it "
            "with nst gpu install."
        )
    if os.environ.get(VARIABLE):
        raise EngineError(
            f"{VARIABLE} names {place}, and no CUDA build is installed there: nst gpu install "
            "does it."
        )
    return None


def choose(device):
    """Return the folder of the CUDA build if `device` is to be computed with it, else None.

    Parameters
    ----------
    device : str
        As in `Config`.

    Raises
    ------
    EngineError
        The device is a GPU that cannot be used; or the CUDA build is not in order.
    """
    kind, _, index = device.partition(":")
    # Who names a library to MXNet has chosen already.
    if kind == "cpu" or os.environ.get("MXNET_LIBRARY_PATH"):
        return None
    own = mxnet2.version()
    if kind == "auto":
        return find() if first_usable() is not None and not own else None
    try:
        card = driver.probe().card(int(index or 0))
        if own:
            return None
        card.check()
        return find()
    except EngineError as error:
        raise EngineError(
            f"Device {device!r} cannot be used. {error} Or use device cpu."
        ) from error


def first_usable():
    """Return the number of the first card that MXNet can use, or None."""
    return next(iter(_usable()), None)


def shares():
    """Return CUDA_VISIBLE_DEVICES for processes that share several usable cards, one each.

    To be set before a process asks the driver for the first time. With fewer than two such
    cards there is nothing to share, and the list is empty.
    """
    cards = _usable()
    # The driver counts the cards that the variable leaves already.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else None
    return [names[i] if names else str(i) for i in cards] if len(cards) > 1 else []


def _usable():
    try:
        cards = driver.probe().cards
    except EngineError:
        return []
    # What cards an MXNet 2 was built for, it alone knows.
    return [card.index for card in cards if card.usable or mxnet2.version()]


def preload(place):
    """Load what MXNet's CUDA build needs, the driver apart, from the folder `place`.

    MXNet then finds them by name, wherever else on the machine there may be others.

    Raises
    ------
    EngineError
        One of them is missing or cannot be loaded.
    """
    for name in LIBRARIES:
        try:
            ctypes.CDLL(os.path.join(place, name))
        except OSError as error:
            raise _broken(place, error) from error
    if not os.path.isfile(os.path.join(place, _LIBRARY)):
        raise _broken(place, f"{_LIBRARY} is missing")


def prepare(precision, deterministic):
    """Set precision and determinism on a GPU for this process, before MXNet is imported.

    They cannot change later: NVIDIA's libraries read them once, and MXNet keeps what it chose by
    them.

    Parameters
    ----------
    precision : str
        As in `Config`. Only ``auto`` and ``tf32`` let cuDNN and cuBLAS round to TF32.
    deterministic : bool
    """
    wanted = {} if precision in ("auto", "tf32") else {"NVIDIA_TF32_OVERRIDE": "0"}
    if deterministic:
        # Timings choose among the convolutions, and may choose otherwise the next time.
        wanted.update(MXNET_ENFORCE_DETERMINISM="1", MXNET_CUDNN_AUTOTUNE_DEFAULT="0")
    environment.put(wanted)


@contextlib.contextmanager
def importable(place):
    """Have Python import MXNet from the folder `place`; from where it is installed if None."""
    if place:
        sys.path.insert(0, str(place))
        importlib.invalidate_caches()
    try:
        yield
    finally:
        if place:
            sys.path.remove(str(place))


def _broken(place, reason):
    if "libz.so" in str(reason):
        return EngineError(f"cuDNN lacks a system library ({reason}): install zlib1g, or zlib.")
    return EngineError(
        f"The CUDA build in {place} is broken ({reason}): renew it with nst gpu install."
    )
