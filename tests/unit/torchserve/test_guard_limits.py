"""The limits of connections follow from the queue and the memory."""

from dataclasses import replace

import pytest
from tensormask_server.torchserve.guard_limits import guard_limits
from tensormask_server.torchserve.java_memory import MIB, JavaMemory
from tensormask_server.torchserve.served_archive import ServedModel


def test_the_limits_follow_from_the_queue() -> None:
    memory = JavaMemory({}, queue=10, held_bytes=500 * MIB, response_bytes=64 * MIB, total_bytes=0)
    limits = guard_limits(memory, [ServedModel(workers=2, batch_size=1, response_timeout=100)], 60, files=20_000)
    assert limits.response_seconds >= 100 * (10 / 2 + 1)
    assert 10 + 2 <= limits.in_hand <= 20
    assert guard_limits(memory, [ServedModel()], 60, files=256).connections == 128
    properties = {"max_request_size": "5000000"}
    assert guard_limits(replace(memory, properties=properties), [ServedModel()], 60, 256).request_bytes == 5_000_000
    slow = ServedModel(response_timeout=700)
    both = guard_limits(memory, [ServedModel(batch_size=8), slow], 60, files=20_000)  # each model has a queue of 10
    assert both.response_seconds == guard_limits(memory, [slow], 60, files=20_000).response_seconds >= 700 * (10 + 1)
    assert both.in_hand >= 2 * 10 + 8 + 1
    with pytest.raises(ValueError, match="idle_seconds is 0; expected more than 0"):
        replace(limits, idle_seconds=0)
