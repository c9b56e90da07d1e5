"""Limits of connections, for the tests of the guard and of the judge."""

from tensormask_server.torchserve.guard_limits import GuardLimits
from tensormask_server.torchserve.java_memory import MIB

LIMITS = GuardLimits(
    idle_seconds=60,
    response_seconds=1000,
    in_hand=3,
    held_bytes=400 * MIB,
    request_bytes=64 * MIB,
    response_bytes=64 * MIB,
    connections=50,
)
