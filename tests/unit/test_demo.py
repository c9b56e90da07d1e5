"""make demo ends early in a line, not in a traceback."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of the demo's own modules."""
    (tmp_path / "demo").mkdir()
    for name in ("__init__.py", "__main__.py", "steps.py"):
        shutil.copy(ROOT / "demo" / name, tmp_path / "demo")
    return tmp_path


def run_demo(project: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "demo"], cwd=project, capture_output=True, text=True)


@pytest.mark.parametrize("moment", ["", "def main():\n    "], ids=["while it imports", "while a step runs"])
def test_ctrl_c_is_one_line(project: Path, moment: str) -> None:
    """The steps send the signal to their own process."""
    signals = f"import os, signal, time\n{moment}os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
    (project / "demo" / "steps.py").write_text(signals)
    result = run_demo(project)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "demo: stopped\n")


def test_a_command_that_fails_is_named(project: Path) -> None:
    archive = project / "archive.sh"
    archive.write_text("#!/bin/sh\nexit 3\n")
    archive.chmod(0o755)
    result = run_demo(project)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("demo: ./archive.sh --config demo/model/config.yaml ")
    assert line.endswith(" failed with exit status 3")
