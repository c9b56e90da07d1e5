"""setup.py finds its files wherever an installation starts."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_editable_installation_needs_only_the_files_that_the_image_copies(tmp_path: Path) -> None:
    """deploy/Dockerfile copies neither configs/ nor the demo's model."""
    copied = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "config.properties"]
    assert f"COPY {' '.join(copied)} ./\nCOPY handler handler\n" in (ROOT / "deploy" / "Dockerfile").read_text()
    for name in copied:
        shutil.copy(ROOT / name, tmp_path)
    left_out = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "handler", tmp_path / "handler", ignore=left_out)
    command = [sys.executable, "setup.py", "-q", "egg_info"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
