"""The limits of the clients' connections. They follow from a server's memory, queue and file descriptors."""

import math
import resource
from collections.abc import Sequence
from dataclasses import dataclass

from tensormask_server.torchserve.java_memory import JavaMemory
from tensormask_server.torchserve.properties import DEFAULT_SIZE, number_property
from tensormask_server.torchserve.served_archive import ServedModel

SHORT = 5.0  # seconds that a response, or a request without one, has even if memory is short
MOST_FILES = 65536  # file descriptors that are requested
OTHER_FILES = 300  # Java's file descriptors that aren't connections
MOST_CONNECTIONS = 4096  # each takes some KiB of Java's memory, and some time at each look
MORE_WORKERS = 8  # workers that the management API may have added


@dataclass(frozen=True)
class GuardLimits:
    """The limits of one connection, and of all together."""

    idle_seconds: float  # without a byte in either direction, and without a request in hand
    response_seconds: float  # from a request's last byte to its response: the longest that the queue can take
    in_hand: int  # requests that the queue and the workers hold at most; no further one can be waiting for a response
    held_bytes: int  # of requests and unread responses together
    request_bytes: int  # of one request that TorchServe puts together, at most
    response_bytes: int  # of one response, at most
    connections: int  # at a time

    def __post_init__(self) -> None:
        if self.idle_seconds <= 0:
            raise ValueError(f"idle_seconds is {self.idle_seconds}; expected more than 0")


def guard_limits(memory: JavaMemory, models: Sequence[ServedModel], idle_seconds: float, files: int) -> GuardLimits:
    """Computes the limits from a server's settings.

    Args:
        memory: how Java's memory is shared.
        models: the settings of the models that are served.
        idle_seconds: how long a connection may stay without a byte in either direction.
        files: how many file descriptors Java may have.

    Returns:
        The limits of the connection guard.
    """
    return GuardLimits(
        idle_seconds=idle_seconds,
        response_seconds=max(idle_seconds, *(_longest(memory.queue, model) + SHORT for model in models)),
        in_hand=sum(memory.queue + (model.workers + MORE_WORKERS) * model.batch_size for model in models),
        held_bytes=memory.held_bytes,
        request_bytes=number_property(memory.properties, "max_request_size", DEFAULT_SIZE),
        response_bytes=memory.response_bytes,
        connections=connection_limit(files),
    )


def _longest(queue: int, model: ServedModel) -> int:
    """Seconds from a request's last byte to its response, if all requests before it take their whole time."""
    batches = 1 + math.ceil(queue / (model.workers * model.batch_size))
    return batches * model.response_timeout


def connection_limit(files: int) -> int:
    """How many connections a server may have that has this many file descriptors."""
    return min(MOST_CONNECTIONS, max(files // 2, files - OTHER_FILES))


def raise_file_limit() -> int:
    """Raises this process's limit of file descriptors as far as the system allows. Java inherits it.

    Returns:
        The limit, in file descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
