"""Tells whether the CPU has instructions for a precision. Without them torch emulates it, which is slow."""

import re
import warnings
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
# x86's and ARM's instructions for convolutions, by Linux's names; one of them is enough
INSTRUCTIONS = {
    torch.bfloat16: {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16"},
    torch.float16: {"avx512_fp16", "amx_fp16", "avx_ne_convert", "asimdhp"},
}


class SlowPrecisionWarning(UserWarning):
    """The CPU emulates the precision of the convolutions."""


def warn_if_emulated(dtype: torch.dtype) -> None:
    """Warns if the CPU emulates a dtype.

    Warns:
        SlowPrecisionWarning: as `emulates`.
    """
    if emulates(dtype):
        name = str(dtype).removeprefix("torch.")
        message = f"this CPU emulates {name}, which takes several times as long as float32"
        warnings.warn(message, SlowPrecisionWarning, stacklevel=3)


def emulates(dtype: torch.dtype) -> bool:
    """Whether this CPU is known to have no instructions for a dtype. False if the CPU's instructions are unknown."""
    try:
        listed = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return False
    return dtype in INSTRUCTIONS and listed is not None and INSTRUCTIONS[dtype].isdisjoint(listed[1].split())
