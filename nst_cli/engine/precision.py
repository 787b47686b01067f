"""The precisions that a device has, and what MXNet calls them."""

import os

import numpy

from .. import machine
from ..errors import EngineError
from .gpu import driver


def resolved_precision(precision, device):
    """Return the precision that a `Config.precision` means on a device.

    Parameters
    ----------
    precision : str
        ``float32``, ``tf32``, ``bfloat16``, ``float16``, or ``auto``: tf32 or bfloat16 where it
        is native, else float32.
    device : Context

    Raises
    ------
    EngineError
        The processor or GPU has it not, or NVIDIA's libraries have been set otherwise.
    """
    offered = {"float32"}
    if device.device_type == "cpu":
        native = "bfloat16" if "avx512_bf16" in machine.cpu_flags() else "float32"
        offered |= {native, "float16"}
    else:
        native = "tf32" if _rounds_to_tf32(device) else "float32"
        offered |= {native, "float16"} if _has(device, "float16") else {native}
    if precision == "auto":
        return native
    if precision == "float32" and native == "tf32":
        raise EngineError(
            "Precision float32 comes too late: in this process NVIDIA's libraries round to TF32. "
            "Use another process, or set NVIDIA_TF32_OVERRIDE=0 from the start."
        )
    if precision not in offered:
        needs = {
            "bfloat16": "a processor with AVX-512 BF16",
            "tf32": f"{_card_with('tf32')}, and NVIDIA_TF32_OVERRIDE not to be 0",
            "float16": _card_with("float16"),
        }
        raise EngineError(
            f"Precision {precision} needs {needs[precision]}, which {device} has not: use auto "
            "or float32."
        )
    return precision


def multiplies(precision, device):
    """Tell whether MXNet convolves maps of a precision on a device; on a CPU not in float16."""
    return precision != "float16" or device.device_type != "cpu"


def _rounds_to_tf32(device):
    """Tell whether NVIDIA's libraries compute float32 in TF32 on a GPU, in this process."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return False
    return _has(device, "tf32")


def _has(device, precision):
    return driver.probe().cards[device.device_id].capability >= driver.LEAST[precision]


def _card_with(precision):
    least = driver.dotted(driver.LEAST[precision])
    return f"an NVIDIA card of compute capability {least} or more"


def data_type(precision):
    """Return what MXNet takes as the dtype of a precision."""
    # NumPy has no bfloat16; this is the type that mxnet.contrib.amp itself uses.
    return numpy.dtype([("bfloat16", numpy.uint16)]) if precision == "bfloat16" else precision
