"""Waiting for a condition, the same way in all tests. A limit only ends a test that hangs: it measures no speed."""

import time
from collections.abc import Callable
from typing import TypeVar

Given = TypeVar("Given")

PATIENCE = 300.0  # seconds; what takes 2 s alone has taken 60 s beside other work


def wait_for(
    condition: Callable[[], Given],
    what: str,
    *,
    unless: Callable[[], object] = lambda: None,
    seconds: float = PATIENCE,
    every: float = 0.05,
) -> Given:
    """Asks again and again until the condition holds.

    Args:
        condition: returns a true value when the wait is over.
        what: the condition in words, for the message of a failure.
        unless: what makes waiting pointless, as a process's exit status; anything but None or False.
        seconds: how long to ask at most.
        every: seconds between two questions.

    Returns:
        The condition's first value that is true.

    Raises:
        AssertionError: it didn't hold in time, or what it waits for can no longer happen.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        reason = unless()
        assert reason is None or reason is False, f"waited for {what}, which can't happen any more: {reason}"
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}, in vain; the last value was {value!r}"
        time.sleep(every)
    return value
