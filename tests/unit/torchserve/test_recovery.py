"""Whether a server will get a worker again, decided by its processes and the management API."""

from dataclasses import dataclass

import pytest
from tensormask_server.torchserve.recovery import UNTRIED_SECONDS, Recovery, Workers

RETRY = 300


@dataclass(frozen=True)
class Seen:
    """A look at the workers."""

    at: float
    pids: tuple[int, ...]
    ready: int = 0
    wanted: int = 1


WELL = Seen(0, (1,), ready=1)
DEAD = Seen(10, ())


@pytest.mark.parametrize(
    ("looks", "at", "has_ended"),
    [
        ([], 1e6, False),  # nothing was seen yet
        ([WELL], 1e6, False),
        ([WELL, DEAD], 10 + RETRY, False),
        ([WELL, DEAD, Seen(12, (2,)), Seen(20, ())], 11 + RETRY, True),  # one try, and it failed
        ([WELL, DEAD, Seen(12, (2,)), Seen(20, ())], 9 + RETRY, False),  # there will be more
        ([WELL, DEAD, Seen(12, (2,)), Seen(400, (2,))], 401, False),  # it takes long, and goes on
        ([WELL, DEAD, Seen(12, (2,)), Seen(20, (2,), ready=1)], 1e6, False),
        ([WELL, DEAD], 11 + RETRY, False),  # the first try may come late on a busy machine,
        ([WELL, DEAD], 11 + RETRY + UNTRIED_SECONDS, True),  # or never
        ([WELL, Seen(10, (1,)), Seen(11, ())], 11 + RETRY, False),  # the old one's end is no failed try
        ([WELL, Seen(10, (), wanted=0)], 1e6, False),  # scaled to none
        ([WELL, Seen(10, (3,), ready=1), Seen(20, ())], 19 + RETRY, False),
        ([Seen(0, (1,)), Seen(5, ())], 5 + RETRY, True),  # it never was ready
    ],
)
def test_the_end_comes_when_the_time_is_over_and_no_worker_is_started(
    looks: list[Seen], at: float, has_ended: bool
) -> None:
    recovery = Recovery()
    for look in looks:
        recovery.note(look.pids, Workers(look.wanted, look.ready, RETRY), look.at)
    assert recovery.has_ended(at) is has_ended


def test_failed_tries_are_counted_since_a_worker_was_ready() -> None:
    recovery = Recovery()
    for number, pids in enumerate([(1,), (), (2,), (3,), (3,)]):
        recovery.note(pids, Workers(1, 0, RETRY), number)
    assert recovery.tries_failed == 2
    recovery.note((3,), Workers(1, 1, RETRY), 9)
    assert recovery.tries_failed == 0
