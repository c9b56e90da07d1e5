"""A short run of the parser over whatever a client might send; `make fuzz` is the long one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz import bodies, promise
from tests.fuzz.large_bodies import LARGE_BODIES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", bodies.KINDS)
def test_any_request_is_read_or_refused_with_a_reason(kind: str) -> None:
    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(sent=bodies.KINDS[kind])
    def holds(sent: bodies.Sent) -> None:
        assert promise.parsed(sent) in ("200", "400")

    holds()


LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
from tests.fuzz import bodies, promise
from tests.fuzz.large_bodies import LARGE_BODIES
for name, make in LARGE_BODIES.items():
    sent = bodies.Sent(name, make())
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]) * 2**20, resource.RLIM_INFINITY))
    print(promise.parsed(sent), name, flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_no_large_body_takes_a_gigabyte_to_read() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LITTLE_MEMORY, "1024"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    readable = ("readable", "frames", "texts of")
    statuses = {name: "200" if any(part in name for part in readable) else "400" for name in LARGE_BODIES}
    assert result.stdout.splitlines() == [f"{status} {name}" for name, status in statuses.items()]
