"""Decides whether a server that has lost its workers will get one again.

It uses only the server's processes and the management API.
"""

from collections.abc import Collection
from dataclasses import dataclass

UNTRIED_SECONDS = 60  # added to the time for retries if TorchServe hasn't begun the first one


@dataclass(frozen=True)
class Workers:
    """A model's workers, as the management API describes them."""

    wanted: int  # the least number
    ready: int
    retry_seconds: float  # how long TorchServe tries to start a worker again
    ids: frozenset[str] = frozenset()  # of the workers


class Recovery:
    """The history of the workers since the last one was ready."""

    def __init__(self) -> None:
        self._known: frozenset[int] = frozenset()  # processes while a worker was ready
        self._lost_at: float | None = None
        self._tried: set[int] = set()  # processes that were started since
        self._working: frozenset[int] = frozenset()

    def note(self, pids: Collection[int], workers: Workers, now: float) -> None:
        """Notes the workers of one moment.

        Args:
            pids: the worker processes.
            workers: the model's workers, at the same moment or later.
            now: seconds, on the monotonic clock.
        """
        self._working = frozenset(pids)
        if workers.ready or not workers.wanted:  # none are wanted if the model was scaled to 0
            self._known, self._lost_at, self._tried = self._working, None, set()
            return
        if self._lost_at is None:
            self._lost_at = now
        self._tried |= self._working - self._known
        self._retry_seconds = workers.retry_seconds

    @property
    def tries_failed(self) -> int:
        """How many worker processes have come and gone since the last one was ready."""
        return len(self._tried - self._working)

    def has_ended(self, now: float) -> bool:
        """Whether the time for retries is over, no worker is being started, and at least one try has failed.

        Requests would then wait for ever.

        Args:
            now: seconds, on the monotonic clock.
        """
        if self._lost_at is None or self._working:
            return False
        since = now - self._lost_at
        patience = self._retry_seconds + (0 if self.tries_failed else UNTRIED_SECONDS)
        return since > patience
