"""bench/gpu.sh on a CPU, at a small size: it finds the reference's detections, and writes its tables."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.extensive
def test_the_script_for_gpus_runs_to_its_end_on_a_cpu(tmp_path: Path) -> None:
    size = ["--height", "64", "--width", "96", "--side", "128", "--batch", "2", "--seconds", "0.1"]
    command = [str(ROOT / "bench" / "gpu.sh"), "--device", "cpu", *size, "--output", str(tmp_path)]
    environment = {"PYTHON": sys.executable, "PATH": "/usr/bin:/bin"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    with (tmp_path / "gpu.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "what"
    assert len(rows) >= 4
    written = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "no GPU, but" in written
    assert all(row[0] in written for row in rows)


def test_without_a_gpu_the_script_says_what_to_do() -> None:
    command = [sys.executable, "-m", "bench.gpu", "--device", "cuda:99"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "--device cpu tries all of it on the CPU" in result.stderr or "cuda:99" in result.stderr
