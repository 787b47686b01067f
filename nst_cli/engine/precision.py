"""The precisions that a device has, and what MXNet calls them."""

import os

import numpy

from .. import machine
from ..errors import EngineError
from .gpu import driver

# The values of DNNL_MAX_CPU_ISA that forbid oneDNN 2.4 bfloat16, in these letters; it ignores
# values that it does not know.
_WITHOUT_BFLOAT16 = (
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_MIC", "AVX512_MIC_4OPS", "AVX512_CORE",
    "AVX512_CORE_VNNI",
)  # fmt: skip


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
        The processor or GPU lacks it, or an environment variable forbids it.
    """
    offered = {"float32"}
    if device.device_type == "cpu":
        native = "float32" if _why_no_bfloat16() else "bfloat16"
        offered |= {native, "float16"}
    else:
        native = "tf32" if _rounds_to_tf32(device) else "float32"
        offered |= {native, "float16"} if _has(device, "float16") else {native}
    if precision == "auto":
        return native
    if precision == "float32" and native == "tf32":
        raise EngineError(
            "Precision float32 on a GPU must be requested before MXNet is first used in a "
            "process: in this one NVIDIA's libraries round to TF32. Use another process, or set "
            "NVIDIA_TF32_OVERRIDE=0 from the start."
        )
    if precision not in offered:
        needs = {
            "bfloat16": _why_no_bfloat16() or "a processor",
            "tf32": f"{_card_with('tf32')}, and NVIDIA_TF32_OVERRIDE not to be 0",
            "float16": _card_with("float16"),
        }
        raise EngineError(
            f"Precision {precision} needs {needs[precision]}: on {device} use auto or float32."
        )
    return precision


def convolves_natively(precision, device):
    """Return whether MXNet convolves in a precision on a device; on a CPU not in float16."""
    return precision != "float16" or device.device_type != "cpu"


def _why_no_bfloat16():
    """Return what oneDNN would need for bfloat16 on this processor; None where it has it."""
    if "avx512_bf16" not in machine.cpu_flags():
        return "a processor with AVX-512 BF16"
    limit = os.environ.get("DNNL_MAX_CPU_ISA")
    if limit in _WITHOUT_BFLOAT16:
        return f"AVX-512 BF16, which DNNL_MAX_CPU_ISA={limit} forbids"
    if os.environ.get("MXNET_MKLDNN_ENABLED", "").lower() in ("0", "false"):
        return "oneDNN, which MXNET_MKLDNN_ENABLED switches off"
    return None


def _rounds_to_tf32(device):
    """Return whether NVIDIA's libraries compute float32 in TF32 on a GPU, in this process."""
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
