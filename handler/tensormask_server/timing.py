"""Measures how long the parts of a request take, and ends what takes too long."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class TimeLimitError(TimeoutError):
    """The work has taken longer than its limit."""

    def __init__(self, limit: float):
        """
        Args:
            limit: in seconds.
        """
        super().__init__(f"the work has taken more than {limit:g} s")
        self.limit = limit


class Stopwatch:
    """Sums the seconds of each part over its runs: `with stopwatch("resize"): …`"""

    def __init__(self, clock: Callable[[], float] = time.perf_counter, limit: float = math.inf) -> None:
        """
        Args:
            clock: gives seconds.
            limit: seconds from now for all parts together.
        """
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._limit = limit
        self._started = clock()

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + self._clock() - started

    def check_limit(self) -> None:
        """
        Raises:
            TimeLimitError: the limit has passed.
        """
        if self._clock() - self._started > self._limit:
            raise TimeLimitError(self._limit)

    def server_timing(self) -> str:
        """The value of the header Server-Timing: "part;dur=milliseconds, …"."""
        return ", ".join(f"{part};dur={1000 * seconds:.1f}" for part, seconds in self.seconds.items())
