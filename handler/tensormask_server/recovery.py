"""Whether TorchServe still tries to have workers, told from what it prints of them: nothing else tells."""

import re
import time

CHANGE = re.compile(r" - (W-\d+-\S+) State change (\S+) -> WORKER_(\w+)")
RETRY = re.compile(r"\b(W-\d+-\S+) \S+ - Retry worker: ")
RETRY_SECONDS = 3  # within which a worker that has stopped is said to be tried again, if it is; it takes milliseconds


class Recovery:
    """The workers that were started, and since when those that have stopped aren't tried again."""

    def __init__(self) -> None:
        self._stopped: dict[str, float | None] = {}  # by the worker's name; None: it works, or is being started

    def read(self, line: str) -> None:
        """A line that TorchServe has printed."""
        if change := CHANGE.search(line):
            name, before, now = change.groups()
            if now == "SCALED_DOWN" or before == "WORKER_SCALED_DOWN":  # as someone has asked for
                self._stopped.pop(name, None)
            else:
                self._stopped[name] = time.monotonic() if now == "STOPPED" else None
        elif (retry := RETRY.search(line)) and retry[1] in self._stopped:
            self._stopped[retry[1]] = None

    @property
    def has_ended(self) -> bool:
        """Whether there were workers, and none is there or is started again: requests would wait for ever."""
        given_up_before = time.monotonic() - RETRY_SECONDS
        stopped = list(self._stopped.values())  # another thread reads
        return bool(stopped) and all(since is not None and since < given_up_before for since in stopped)
