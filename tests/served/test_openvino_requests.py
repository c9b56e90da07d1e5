"""Requests to a server of the engine openvino: the tests of two files, as `make test-openvino` runs them all."""

import os
import subprocess
import sys

import pytest
from tensormask_server.extras import missing_extra

from tests.served.conftest import ENGINE, ROOT
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.extensive,
    pytest.mark.skipif(ENGINE == "openvino", reason="all tests have this engine already"),
    pytest.mark.skipif(bool(missing_extra("openvino")), reason="the extra openvino isn't installed"),
]
FILES = ("tests/served/test_forms.py", "tests/served/test_formats.py")


def test_requests_are_answered_as_by_the_native_engine() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "0", *FILES]
    environment = {**os.environ, "ENGINE": "openvino"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=4 * PATIENCE)
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout.splitlines()[-1]
