"""Sizes of memory: reads them as a user or Java writes them, and finds this machine's."""

import re
from pathlib import Path

import psutil

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def memory_size(text: str) -> int:
    """Reads a size as Java writes it, as `4g` or `1500m`.

    Returns:
        Bytes.

    Raises:
        ValueError: it isn't a size, or is 0.
    """
    match = re.fullmatch(r"(\d{1,15})([kmgt]?)b?", text.strip().lower())
    if not match or not int(match[1]):
        raise ValueError(
            f"{text[:60]!r} is not a size of memory; expected a whole number with k, m, g or t, as 4g or 1500m"
        )
    return int(match[1]) * UNITS[match[2]]


def machine_memory(root: Path = Path("/")) -> int:
    """The memory that this process may use: the machine's, or the smallest limit of its control groups.

    Args:
        root: the folder with /proc and /sys.

    Returns:
        Bytes.
    """
    sizes = [psutil.virtual_memory().total]
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        inner = folder / path.lstrip("/")
        for place in (inner, *inner.parents):
            try:
                text = (place / name).read_text().strip()
            except OSError:  # in a container the path may be the host's
                text = "max"
            if text.isdecimal():
                sizes.append(int(text))
            if place == folder:
                break
    return min(sizes)
