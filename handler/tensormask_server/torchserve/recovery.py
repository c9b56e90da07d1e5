"""Whether a server that has lost its workers still gets one: told from its processes and the management API alone."""

from collections.abc import Collection
from dataclasses import dataclass

UNTRIED_SECONDS = 60  # how long after the time for retries TorchServe may take to begin the first one


@dataclass(frozen=True)
class Workers:
    """A model's workers, as the management API describes them."""

    wanted: int  # at least so many
    ready: int
    retry_seconds: float  # how long TorchServe tries to start one again


class Recovery:
    """What was seen of the workers since the last one was ready."""

    def __init__(self) -> None:
        self._known: frozenset[int] = frozenset()  # the processes while a worker was ready
        self._lost_at: float | None = None
        self._tried: set[int] = set()  # the processes that were started since
        self._working: frozenset[int] = frozenset()

    def see(self, pids: Collection[int], workers: Workers, now: float) -> None:
        """
        Args:
            pids: the worker processes.
            workers: of the same moment or later.
            now: seconds, on the monotonic clock.
        """
        self._working = frozenset(pids)
        if workers.ready or not workers.wanted:  # none are wanted where someone has scaled the model to 0
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
        """Whether the time for retries is over, no worker is being started and at least one try has failed.

        Requests would wait for ever.
        """
        if self._lost_at is None or self._working:
            return False
        since = now - self._lost_at
        patience = self._retry_seconds + (0 if self.tries_failed else UNTRIED_SECONDS)
        return since > patience
