"""The management API changes the number of workers while requests run, and every request gets its response."""

import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np
from tensormask_server.client import Client

from reference.cases import Case
from tests.served.conftest import Server, launched, request_body, send
from tests.waiting import wait_for

Given = TypeVar("Given")


@contextmanager
def requested_all_the_time(request: Callable[[], Given], clients: int = 3) -> Iterator[list[Given]]:
    """The responses to so many clients so far. Each sends its next request at once."""
    responses: list[Given] = []
    done = Event()

    def ask_until_done() -> None:
        while not done.is_set():
            responses.append(request())

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(ask_until_done) for _ in range(clients)]
        try:
            yield responses
        finally:
            done.set()
        for future in futures:
            future.result()


def scale(server: Server, workers: int, responses: Sequence[object]) -> None:
    server.manage(f"?min_worker={workers}&max_worker={workers}", "PUT")
    wait_for(lambda: len(server.worker_pids()) == workers, f"{workers} READY workers")
    so_far = len(responses)
    wait_for(lambda: len(responses) >= so_far + 5, "five more responses")


def test_a_second_worker_comes_and_goes_and_every_request_gets_a_response(
    archive: Path, tmp_path: Path, case: Case
) -> None:
    body = request_body(case.image)
    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        with requested_all_the_time(lambda: server.post(body)) as responses:
            scale(server, 2, responses)
        assert {response.status for response in responses} == {200}
        assert len({response.body for response in responses}) == 1  # whichever worker gave it
        # TorchServe breaks off what the other worker is at, and what waits there for its batch never gets a response
        client = Client(server.url, waits=(0.1,) * 60, timeout=30)
        with requested_all_the_time(lambda: client.predict(case.image)) as found:
            scale(server, 1, found)
    assert len(found[0]) > 3
    for each in found:
        np.testing.assert_array_equal(each.masks, found[0].masks)


def test_describe_and_ping(server: Server) -> None:
    [description] = server.manage()
    assert description["modelName"] == "tiny"
    assert [worker["status"] for worker in description["workers"]] == ["READY"]
    # TorchServe would give up a worker that loads longer than 120 s
    assert (description["startupTimeout"], description["responseTimeout"]) == (600, 120)
    ping = send(urllib.request.Request(f"http://127.0.0.1:{server.ports[0]}/ping"))
    assert (ping.status, ping.error()) == (200, {"status": "Healthy"})
