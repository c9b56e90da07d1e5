"""Where the lines of the gateway's log of requests go: nowhere, to a file, or to stdout."""

import json
import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tensormask_server.printable import say
from tensormask_server.request_log import RequestLog

STDOUT = "-"
WAITING_LINES = 1000  # for a stdout that nobody reads; further lines are lost

Append = Callable[[Mapping[str, Any]], None]


def appender(target: str) -> Append:
    """Makes the function that writes one record.

    Args:
        target: a file's path, or "-" for stdout. "": nothing is written.
    """
    if not target:
        return _nothing
    if target == STDOUT:
        return _printer()
    return RequestLog(Path(target).absolute()).append


def _nothing(_: Mapping[str, Any]) -> None:
    pass


def _printer() -> Append:
    """Prints in a thread: requests go on if nobody reads stdout."""
    lines: queue.Queue[str] = queue.Queue(WAITING_LINES)

    def print_lines() -> None:
        while True:
            say(lines.get())

    def append(record: Mapping[str, Any]) -> None:
        if not lines.full():
            lines.put(json.dumps(record, separators=(",", ":")))

    threading.Thread(target=print_lines, name="request-log", daemon=True).start()
    return append
