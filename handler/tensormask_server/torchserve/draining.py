"""The end of a server: no new connections, and time for the requests that it has in hand."""

import time

import psutil

from tensormask_server.printable import say
from tensormask_server.torchserve.sockets import count_in_hand, refuse_new


def finish_requests(process: psutil.Process, port: int, timeout: float) -> None:
    """Refuses new connections, and returns when the requests in hand are answered or the time is up.

    Where the system doesn't allow access to another process's sockets, new connections can't be refused. Then it waits
    until all connections are closed.

    Args:
        process: whose server it is.
        port: where that listens for requests.
        timeout: seconds.
    """
    if refuse_new(process, port):
        counted, awaited = "requests", "answered"
    else:
        counted, awaited = "connections, some of them perhaps idle,", "closed"
        say("this system doesn't allow pidfd_getfd: new connections aren't refused, and idle ones count as requests")
    end = time.monotonic() + timeout
    if count := count_in_hand(process, port):
        say(f"stopping when {count} {counted} in hand are {awaited}, at most {timeout:g} s")
    while count and time.monotonic() < end:
        time.sleep(0.05)
        count = count_in_hand(process, port)
    if count:
        say(f"{count} {counted} were not {awaited} in {timeout:g} s and are broken off")
