"""python -m tensormask_server.config_properties prints TorchServe's settings."""

import subprocess
import sys
from pathlib import Path

from tensormask_server.torchserve.properties import read_properties

ROOT = Path(__file__).parents[2]


def test_it_prints_the_settings_of_the_clone(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "tensormask_server.config_properties"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout == (ROOT / "config.properties").read_text()
    (tmp_path / "config.properties").write_text(result.stdout)
    assert read_properties(tmp_path / "config.properties")["inference_address"] == "http://127.0.0.1:8080"
