"""Clients that ask all the time, and what became of each of their requests."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tensormask_server.client import Client, RequestError, Unreachable

from tests.chaos.serving import CASE

PATIENT = (0.2, 0.5, *(1.0,) * 60)  # waits, in seconds


class Load:
    """So many clients, each asking for the same image again and again, until `stop`."""

    def __init__(self, url: str, timeout: float = 60):
        self.client = Client(url, waits=PATIENT, timeout=timeout)
        self.expected = self._request()
        self.requests = 0
        self.right = 0
        self.wrong = 0
        self.without_response: list[str] = []
        self.retries = Retries()
        self.answered_at: list[tuple[float, float]] = []  # when sent and when answered, on the monotonic clock
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def stop(self) -> None:
        self._stopped.set()

    def back_after(self, fault: float) -> float | None:
        """Seconds from the fault, on the monotonic clock, to the first right response to a later request."""
        times = [answered - fault for sent, answered in self.answered_at if sent >= fault]
        return min(times, default=None)

    def run(self) -> None:
        while not self._stopped.is_set():
            sent = time.monotonic()
            try:
                response = self._request()
            except Unreachable:  # no server got the request, so it doesn't count
                time.sleep(0.1)
                continue
            except RequestError as error:
                with self._lock:
                    self.requests += 1
                    self.without_response.append(str(error))
                continue
            with self._lock:
                self.requests += 1
                self.right += response == self.expected
                self.wrong += response != self.expected
                self.answered_at.append((sent, time.monotonic()))

    def _request(self) -> Any:
        return json.loads(self.client.request(CASE.image, "coco").body)["instances"]


class Retries(logging.Handler):
    """Counts what the client says of its further tries."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.count = 0
        self.server_errors = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        self.server_errors += record.getMessage().startswith("5")


@contextmanager
def asking(url: str, clients: int, timeout: float = 60) -> Iterator[Load]:
    load = Load(url, timeout)
    logger = logging.getLogger("tensormask_server.client")
    logger.setLevel(logging.INFO)
    logger.addHandler(load.retries)
    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(load.run) for _ in range(clients)]
        try:
            yield load
        finally:
            load.stop()
    logger.removeHandler(load.retries)
    for future in futures:
        future.result()
