"""Tells which precisions the CPU has instructions for. Without them torch emulates a precision, which is slow."""

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
# how many times as fast bfloat16 is as float32, by the CPU's best instruction: measured, see docs/PERFORMANCE.md
BFLOAT16_RATIOS = {"amx_bf16": 2.3, "avx512_bf16": 2.0}


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
    listed = _instructions()
    return dtype in INSTRUCTIONS and listed is not None and INSTRUCTIONS[dtype].isdisjoint(listed)


def faster_precision(dtype: torch.dtype) -> str:
    """Says which option would make this CPU much faster than it is with a dtype.

    Returns:
        A sentence; "" if none would, or if the CPU's instructions are unknown.
    """
    listed = _instructions() or frozenset()
    for instruction, ratio in BFLOAT16_RATIOS.items():
        if dtype == torch.float32 and instruction in listed:
            return (
                f"--precision bfloat16 is about {ratio:g} times as fast as float32 on this CPU ({instruction}); "
                "it cost the demo's network 0.05 AP"
            )
    return ""


def _instructions() -> frozenset[str] | None:
    """The CPU's, by Linux's names. None: they aren't listed."""
    try:
        listed = re.search(r"^(?:flags|Features)\s*:(.*)$", CPUINFO.read_text(), re.MULTILINE)
    except OSError:
        return None
    return frozenset(listed[1].split()) if listed else None
