"""Measures how long the parts of a request take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Sums the seconds of each part over its runs: `with stopwatch("resize"): …`"""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        started = self._clock()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + self._clock() - started

    def server_timing(self) -> str:
        """The value of the header Server-Timing: "part;dur=milliseconds, …"."""
        return ", ".join(f"{part};dur={1000 * seconds:.1f}" for part, seconds in self.seconds.items())
