"""The records of requests: what a line of the log holds."""

import json
from datetime import datetime, timedelta, timezone

from tensormask_server.bad_request import BadRequest
from tensormask_server.request_log import LONGEST_LINE
from tensormask_server.worker.job import Job
from tensormask_server.worker.request_records import request_record

NOON = datetime(2026, 1, 31, 13, 0, 0, 123_456, timezone(timedelta(hours=1)))


def test_a_failed_request() -> None:
    job = Job("42", 1234)
    job.fail(BadRequest("the body is not JSON", "JSON", "body"))
    job.stopwatch.seconds["decode"] = 0.01234
    assert request_record(job, "tiny", 400, 99, NOON) == {
        "time": "2026-01-31T12:00:00.123Z",
        "id": "42",
        "model": "tiny",
        "status": 400,
        "error": "the body is not JSON",
        "reason": "body",
        "images": 0,
        "instances": 0,
        "format": None,
        "milliseconds": {"decode": 12.3},
        "bytes_in": 1234,
        "bytes_out": 99,
    }


def test_a_hostile_message_stays_on_one_short_line() -> None:
    job = Job("\\" * 128, 1)
    job.fail(BadRequest("a\r\nb\x1b[2J\x7f\u202e\u2028" + "é" * 100_000, "JSON"))
    line = json.dumps(request_record(job, "m" * 100, 400, 1, NOON))
    assert len(line) < LONGEST_LINE / 2
    assert line.isascii()
    assert line.isprintable()
    assert "\\\\x1b[2J" in line  # as text
