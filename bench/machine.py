"""This machine, as the tables name it."""

import platform
import re
from pathlib import Path

import torch

CPUINFO = Path("/proc/cpuinfo")
# by Linux's names, the fastest for convolutions first; CPUs of one name can differ in them
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx2", "asimd")


def cpu() -> str:
    """The CPU's name and the best of its INSTRUCTIONS: "AMD EPYC with avx512_bf16"."""
    text = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    listed = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    flags = listed[1].split() if listed else []
    best = next((f" with {each}" for each in INSTRUCTIONS if each in flags), "")
    return (name[1].strip() if name else platform.machine()) + best


def folder_name(cpu: str) -> str:
    """The name of a CPU's folder in bench/results: "amd-epyc-avx512-bf16"."""
    short = re.sub(r"\((r|tm)\)|\b(processor|cpu|with)\b|@.*?hz", " ", cpu.lower())
    return "-".join(re.findall("[a-z0-9]+", short))


def versions() -> str:
    return f"{torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
