"""Which precisions the CPU computes in by itself: others are emulated, slowly."""

import re
import warnings
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
# the instructions of x86 and ARM that convolutions need, as Linux calls them
INSTRUCTIONS = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    torch.float16: {"avx512_fp16", "amx_fp16", "avx_ne_convert", "asimdhp"},
}


class SlowPrecisionWarning(UserWarning):
    """The CPU emulates the precision that was asked for."""


def warn_if_emulated(dtype: torch.dtype) -> None:
    """
    Warns:
        SlowPrecisionWarning: this CPU has no instructions for it; not where that can't be told.
    """
    if emulates(dtype):
        name = str(dtype).removeprefix("torch.")
        message = f"this CPU emulates {name}, which takes several times as long as float32"
        warnings.warn(message, SlowPrecisionWarning, stacklevel=3)


def emulates(dtype: torch.dtype) -> bool:
    """Whether this CPU is known to have no instructions for it."""
    try:
        listed = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return False
    return dtype in INSTRUCTIONS and listed is not None and INSTRUCTIONS[dtype].isdisjoint(listed[1].split())
