"""Ends a server: it accepts no new connections, and the requests that it has in hand get time to finish."""

import time

import psutil

from tensormask_server.printable import say
from tensormask_server.torchserve.sockets import count_in_hand, refuse_new


def finish_requests(process: psutil.Process, port: int, timeout: float) -> None:
    """Refuses new connections. It returns when the requests in hand have their responses, or after the timeout.

    If the system doesn't allow access to another process's sockets, new connections can't be refused. Then it waits
    until all connections are closed.

    Args:
        process: the server's.
        port: where the server listens for requests.
        timeout: in seconds.
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
