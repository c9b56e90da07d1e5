"""How long the parts of an answer take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by the name of a part, summed over its runs."""

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
        """The header Server-Timing: part;dur=milliseconds, …"""
        return ", ".join(f"{part};dur={1000 * seconds:.1f}" for part, seconds in self.seconds.items())
