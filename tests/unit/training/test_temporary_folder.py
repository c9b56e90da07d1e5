"""Where the sockets of the processes that make batches can't be named, a training is refused and doesn't hang."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.training.small_training import write_config, write_data
from training.temporary_folder import MOST_BYTES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short path, wherever the tests' own are."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def folder_of(length: int, parent: Path) -> Path:
    """A new folder whose path has so many bytes."""
    folder = parent / ("x" * (length - len(os.fsencode(parent)) - 1))
    folder.mkdir()
    return folder


def environment(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": f"{ROOT}:{ROOT / 'handler'}"}


def test_a_folder_with_the_longest_path_is_accepted(short_folder: Path) -> None:
    command = "from training.temporary_folder import check_temporary_folder; check_temporary_folder()"
    subprocess.run(
        [sys.executable, "-c", command], env=environment(folder_of(MOST_BYTES, short_folder)), check=True, timeout=60
    )


def test_a_training_with_a_longer_path_is_refused_before_the_first_step(tmp_path: Path, short_folder: Path) -> None:
    temporary = folder_of(MOST_BYTES + 1, short_folder)
    data = write_data(tmp_path / "data")
    config = write_config(tmp_path / "config.yaml", MAX_ITER=1)
    command = [sys.executable, "-m", "training", "--config", config, "--data", data, "--out", tmp_path / "out"]
    result = subprocess.run(
        [*map(str, command), "--workers", "1"],
        env=environment(temporary),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if result.returncode == 0:  # this Python makes its sockets elsewhere then
        return
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert line.startswith(f"TMPDIR is {temporary}, of {MOST_BYTES + 1} bytes; ")
    assert line.endswith(f"at most {MOST_BYTES} bytes that can be written; set TMPDIR=/tmp, or give --workers 0")
    assert not list((tmp_path / "out").iterdir())
