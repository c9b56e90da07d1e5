"""Environments of their own, for packages that would disturb the pinned one. Without them a test is skipped."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE


def python_with(folder: Path, *packages: str) -> Path:
    """The Python of a new environment with these packages of the package index."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=PATIENCE)
    install = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", *packages]
    _install(install, folder, packages)
    return folder / "bin/python"


def node_modules_with(folder: Path, *packages: str) -> Path:
    """The folder of the commands of these packages for Node.js, installed into a folder's node_modules."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm")
    (folder / "package.json").write_text("{}")
    _install([npm, "install", "--no-audit", "--no-fund", *packages], folder, packages)
    return folder / "node_modules" / ".bin"


def _install(command: list[str], folder: Path, packages: tuple[str, ...]) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10 * PATIENCE)
    if result.returncode != 0:
        last = (result.stderr.strip() or "no reason given").splitlines()[-1]
        pytest.skip(f"{', '.join(packages)} can't be installed: {last}")
