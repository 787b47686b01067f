"""The precisions that a device supports, and MXNet's names for them."""

import os
from typing import Any, Optional

import numpy

from .. import machine
from ..errors import EngineError
from . import environment
from .gpu import driver

# The values of DNNL_MAX_CPU_ISA, case-sensitive, that switch off bfloat16 in oneDNN 2.4. It
# ignores unknown values.
_OLDER = ("SSE41", "AVX")
_AVX2 = ("AVX2", "AVX2_VNNI")
_WITHOUT_BFLOAT16 = (
    *_OLDER, *_AVX2, "AVX512_MIC", "AVX512_MIC_4OPS", "AVX512_CORE", "AVX512_CORE_VNNI",
)  # fmt: skip


def resolved_precision(precision: str, device: Any) -> str:
    """Return the precision that `Config.precision` selects on a device.

    Parameters
    ----------
    precision : str
        ``float32``, ``tf32``, ``bfloat16``, ``float16``, or ``auto``: tf32 or bfloat16 if the
        device is faster with it, else float32.
    device : Context

    Raises
    ------
    EngineError
        The processor or GPU does not support it, or an environment variable forbids it.
    """
    supported = {"float32"}
    if device.device_type == "cpu":
        native = "bfloat16" if _bfloat16_is_fast() else "float32"
        supported |= {"float16"} if _why_no_bfloat16() else {"bfloat16", "float16"}
    else:
        native = "tf32" if _rounds_to_tf32(device) else "float32"
        supported |= {native, "float16"} if _has(device, "float16") else {native}
    if precision == "auto":
        return native
    if precision == "float32" and native == "tf32":
        raise EngineError(
            "Precision float32 on a GPU must be requested before MXNet is first used in a "
            "process: in this one NVIDIA's libraries round to TF32. Use another process, or set "
            "NVIDIA_TF32_OVERRIDE=0 from the start."
        )
    if precision not in supported:
        needs = {
            "bfloat16": _why_no_bfloat16() or "a processor",
            "tf32": f"{_card_with('tf32')}, and NVIDIA_TF32_OVERRIDE not to be 0",
            "float16": _card_with("float16"),
        }
        raise EngineError(
            f"Precision {precision} needs {needs[precision]}: on {device} use auto or float32."
        )
    return precision


def instruction_set(device: Any) -> str:
    """Return what oneDNN convolves with, which decides how fast Winograd convolutions are.

    ``amx``, in bfloat16 alone; ``avx512``; ``amd avx2`` or ``avx2``, for processors of AMD and of
    others; or ``other``.
    """
    if device.device_type != "cpu" or without_onednn():
        return "other"
    if _has_amx():
        return "amx"
    flags, limit = machine.cpu_flags(), os.environ.get(environment.ISA)
    if "avx512f" in flags and limit not in (*_AVX2, *_OLDER):
        return "avx512"
    if "avx2" not in flags or limit in _OLDER:
        return "other"
    return "amd avx2" if machine.cpu_vendor() == "AuthenticAMD" else "avx2"


def by_amx(precision: str, device: Any) -> bool:
    """Return whether oneDNN convolves by AMX in a precision on a device."""
    return precision == "bfloat16" and instruction_set(device) == "amx"


def convolves_natively(precision: str, device: Any) -> bool:
    """Return whether MXNet convolves in this precision on a device; a CPU lacks float16."""
    return precision != "float16" or bool(device.device_type != "cpu")


def _why_no_bfloat16() -> Optional[str]:
    """Return what this processor or oneDNN lacks for bfloat16; None if nothing."""
    if "avx512_bf16" not in machine.cpu_flags():
        return "a processor with AVX-512 BF16"
    limit = os.environ.get(environment.ISA)
    if limit in _WITHOUT_BFLOAT16:
        return f"AVX-512 BF16, which DNNL_MAX_CPU_ISA={limit} forbids"
    if without_onednn():
        return "oneDNN, which MXNET_MKLDNN_ENABLED switches off"
    return None


def _bfloat16_is_fast() -> bool:
    """Return whether convolutions in bfloat16 take less time than in float32.

    They do by AMX (0.4 of it), and on AMD's processors (0.6), whose vector units multiply
    bfloat16 at twice the rate. Intel's multiply it at the rate of float32, and bfloat16 without
    AMX takes 1.4 of float32's time there.
    """
    if _why_no_bfloat16():
        return False
    return _has_amx() or machine.cpu_vendor() == "AuthenticAMD"


def _has_amx() -> bool:
    return os.environ.get(environment.ISA) == environment.AMX and machine.may_use_amx()


def without_onednn() -> bool:
    """Return whether an environment variable switches oneDNN off."""
    return os.environ.get("MXNET_MKLDNN_ENABLED", "").lower() in ("0", "false")


def _rounds_to_tf32(device: Any) -> bool:
    """Return whether NVIDIA's libraries compute float32 in TF32 on a GPU, in this process."""
    if os.environ.get("NVIDIA_TF32_OVERRIDE") == "0":
        return False
    return _has(device, "tf32")


def _has(device: Any, precision: str) -> bool:
    return driver.probe().cards[device.device_id].capability >= driver.LEAST[precision]


def _card_with(precision: str) -> str:
    least = driver.dotted(driver.LEAST[precision])
    return f"an NVIDIA card of compute capability {least} or more"


def data_type(precision: str) -> Any:
    """Return the dtype that MXNet uses for a precision."""
    # NumPy has no bfloat16; mxnet.contrib.amp uses this type for it.
    return numpy.dtype([("bfloat16", numpy.uint16)]) if precision == "bfloat16" else precision
