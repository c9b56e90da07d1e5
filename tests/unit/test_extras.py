"""A command whose packages weren't installed says in one line how to install them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# run as a package or a file, as if a module weren't installed
WITHOUT = """
import runpy, sys
absent, how, what = sys.argv[1:4]
sys.modules[absent] = None
sys.argv = [what, "--help"]
getattr(runpy, how)(what, run_name="__main__")
"""


@pytest.mark.parametrize(
    ("how", "what", "absent", "extra"),
    [
        ("run_module", "training", "tqdm", "train"),
        ("run_module", "training", "pycocotools", "train"),
        ("run_path", "bench/evaluate.py", "tqdm", "train"),
        ("run_path", "bench/evaluate_bulk.py", "pyarrow", "bulk"),
        ("run_path", "demo/dataset.py", "resvg_py", "train"),
    ],
)
def test_what_brings_an_absent_package_is_told(how: str, what: str, absent: str, extra: str) -> None:
    command = [sys.executable, "-c", WITHOUT, absent, how, what]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert absent in line
    assert line.endswith(f".venv/bin/pip install -c constraints.txt -e '.[{extra}]' brings it")
