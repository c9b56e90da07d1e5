"""Environments that see the packages which a wheel's extras ask for, and no others, without downloading them."""

import importlib.metadata
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.requirements import Requirement

NAME = "tensormask-segmentation-server"


def link_requirements(wheel: Path, extras: Iterable[str], packages: Path) -> set[str]:
    """Links the packages that are installed here into another environment, with all that they need themselves.

    Args:
        wheel: of the project.
        extras: of the wheel.
        packages: the folder of the other environment's packages.

    Returns:
        The names of the distributions.
    """
    [metadata] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA")]
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    own = [Requirement(line.partition(": ")[2]) for line in lines if line.startswith("Requires-Dist: ")]
    found: set[tuple[str, str]] = set()
    waiting = [(NAME, extra) for extra in ("", *extras)]
    while waiting:
        name, extra = each = waiting.pop()
        if each not in found:
            found.add(each)
            required = own if name == NAME else map(Requirement, importlib.metadata.requires(name) or ())
            waiting += _needed(required, extra)
    names = {name for name, _ in found} - {NAME}
    for name in names:
        for top in _top_entries(importlib.metadata.distribution(name)):
            target = packages / top.name
            if not target.exists():
                target.symlink_to(top)
    return names


def _needed(requirements: Iterable[Requirement], extra: str) -> Iterator[tuple[str, str]]:
    for each in requirements:
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            name = re.sub(r"[-_.]+", "-", each.name).lower()
            yield from ((name, wanted) for wanted in ("", *each.extras))


def _top_entries(distribution: importlib.metadata.Distribution) -> set[Path]:
    """The files and folders directly in the folder of packages."""
    tops = {Path(file).parts[0] for file in distribution.files or ()}
    return {Path(str(distribution.locate_file(top))) for top in tops - {"..", "__pycache__"}}
