"""Where pysimdjson isn't installed, as on Python 3.14, requests are read by the standard library's parser."""

import subprocess
import sys
from pathlib import Path

from tests.waiting import PATIENCE

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WITHOUT = "import sys, pytest; sys.modules['simdjson'] = None; sys.exit(pytest.main(sys.argv[1:]))"


def test_the_same_requests_are_read_and_refused() -> None:
    files = [HERE / "test_parsing.py", HERE / "test_hostile_bodies.py"]
    command = [sys.executable, "-c", WITHOUT, "-q", "-p", "no:cacheprovider", *map(str, files)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert result.returncode == 0, result.stdout
