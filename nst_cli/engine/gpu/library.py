"""The CUDA build of MXNet, in a separate folder with the NVIDIA libraries that it needs.

The CUDA build and the installed MXNet have the same package name, so they cannot share an
environment. A process loads one of the two and chooses before it imports MXNet. If MXNet 2 is
installed, it is used for every device.
"""

import contextlib
import ctypes
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Optional, Union

from ...errors import EngineError
from ...folders import user_folder
from .. import environment, mxnet2
from . import driver

#: The environment variable that overrides the default folder.
VARIABLE = "NST_GPU"

# The last release of MXNet, and the newest libraries with the file names it was linked with.
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

#: The file that lists what is installed; it is written last.
MARK = "nst-gpu.json"

_LIBRARY = "mxnet/libmxnet.so"

#: The libraries that MXNet's needs, each after those it depends on. cuDNN's parts are listed
#: because it opens them by name and might otherwise find those of another cuDNN.
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


def folder() -> Optional[Path]:
    """Return the folder for the CUDA build, installed or not, as an absolute Path.

    None if `VARIABLE` is not set and the user has no home folder.
    """
    override = os.environ.get(VARIABLE)
    if override:
        return Path(override).absolute()
    data = user_folder("XDG_DATA_HOME", ".local/share")
    return data / "gpu" if data else None


def packages(place: Union[str, Path]) -> Optional[tuple[str, ...]]:
    """Return what is installed in the folder `place`, as in `PACKAGES`; None if nothing is."""
    names = _mark(place).get("packages")
    return tuple(names) if isinstance(names, list) else None


def foreign(place: Union[str, Path]) -> Optional[str]:
    """Return the name of a file in the folder `place` that `install` did not put there.

    None if there is no such file or no such folder; the folder's own name if it is a file.
    """
    place = Path(place)
    if not place.is_dir():
        return place.name if place.exists() else None
    entries = _mark(place).get("entries")
    known = {MARK, *map(str, entries if isinstance(entries, list) else ())}
    return next((name for name in sorted(os.listdir(place)) if name not in known), None)


def _mark(place: Union[str, Path]) -> dict[str, Any]:
    """Return the content of `MARK` in the folder `place`; empty if it is missing or damaged."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        document = json.loads(Path(place, MARK).read_text("utf-8"))
        if isinstance(document, dict):
            return document
    return {}


def find() -> Optional[Path]:
    """Return the folder of the CUDA build, or None if it is not installed.

    Raises
    ------
    EngineError
        Another version is installed, or NST_GPU names a folder without the CUDA build.
    """
    place = folder()
    if place is None:
        return None
    installed = packages(place)
    if installed == PACKAGES:
        return place
    if installed:
        raise EngineError(
            f"The CUDA build in {place} is not the one that this version of nst needs: replace "
            "it with nst gpu install."
        )
    if os.environ.get(VARIABLE):
        raise EngineError(
            f"{VARIABLE} names {place}, and no CUDA build is installed there: run nst gpu install."
        )
    return None


def choose(device: str) -> Optional[Path]:
    """Return the folder of the CUDA build if `device` needs it, else None.

    Parameters
    ----------
    device : str
        As in `Config`.

    Raises
    ------
    EngineError
        The device is a GPU that cannot be used, or the CUDA build has another version.
    """
    kind, _, index = device.partition(":")
    # With MXNET_LIBRARY_PATH the user has chosen a library already.
    if kind == "cpu" or os.environ.get("MXNET_LIBRARY_PATH"):
        return None
    has_mxnet2 = mxnet2.version() is not None
    if kind == "auto":
        return find() if first_usable() is not None and not has_mxnet2 else None
    try:
        card = driver.probe().card(int(index or 0))
        if has_mxnet2:
            return None
        card.check()
        return find()
    except EngineError as error:
        raise EngineError(
            f"Device {device!r} cannot be used. {error} Or use device cpu."
        ) from error


def first_usable() -> Optional[int]:
    """Return the number of the first card that MXNet can use, or None."""
    return next(iter(_usable()), None)


def shares() -> list[str]:
    """Return a value of CUDA_VISIBLE_DEVICES for each usable card; empty if there is only one.

    Each lets a process see one card. It must be set before the process first calls the driver.
    """
    cards = _usable()
    # The driver already counts only the cards that the user's own value allows.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else None
    return [names[i] if names else str(i) for i in cards] if len(cards) > 1 else []


def _usable() -> list[int]:
    try:
        cards = driver.probe().cards
    except EngineError:
        return []
    # Only an MXNet 2 itself knows which cards it was built for, so none is excluded.
    return [card.index for card in cards if card.usable or mxnet2.version()]


def preload(place: Union[str, Path]) -> None:
    """Load the libraries that MXNet's CUDA build needs, except the driver, from `place`.

    MXNet then uses these, even if the machine has others with the same names.

    Raises
    ------
    EngineError
        A library is missing or cannot be loaded.
    """
    for name in LIBRARIES:
        try:
            ctypes.CDLL(os.path.join(place, name))
        except OSError as error:
            raise _broken(place, error) from error
    if not os.path.isfile(os.path.join(place, _LIBRARY)):
        raise _broken(place, f"{_LIBRARY} is missing")


def prepare(precision: str, deterministic: bool) -> None:
    """Set precision and determinism on a GPU for this process, before MXNet is imported.

    Later changes have no effect: NVIDIA's libraries and MXNet read the settings once.

    Parameters
    ----------
    precision : str
        As in `Config`. Only ``auto`` and ``tf32`` let cuDNN and cuBLAS round to TF32.
    deterministic : bool
    """
    variables = {} if precision in ("auto", "tf32") else {"NVIDIA_TF32_OVERRIDE": "0"}
    if deterministic:
        # Autotuning chooses a convolution by its time, so the choice may differ between runs.
        variables.update(MXNET_ENFORCE_DETERMINISM="1", MXNET_CUDNN_AUTOTUNE_DEFAULT="0")
    environment.put(variables)


@contextlib.contextmanager
def importable(place: Optional[Path]) -> Iterator[None]:
    """Make Python import MXNet from the folder `place`, or from where it is installed if None."""
    if place:
        sys.path.insert(0, str(place))
        importlib.invalidate_caches()
    try:
        yield
    finally:
        if place:
            sys.path.remove(str(place))


def _broken(place: Union[str, Path], reason: object) -> EngineError:
    if "libz.so" in str(reason):
        return EngineError(f"cuDNN lacks a system library ({reason}): install zlib1g, or zlib.")
    return EngineError(
        f"The CUDA build in {place} is broken ({reason}): repair it with nst gpu install."
    )
