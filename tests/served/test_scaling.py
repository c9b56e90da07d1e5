"""The management API changes the number of workers while requests run, and none is lost."""

import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

from parity.cases import Case

from served.conftest import Answer, Server, launched, request_body, send


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't happen in time"
        time.sleep(0.1)


def test_two_workers_and_back_to_one_lose_no_request(archive: Path, tmp_path: Path, case: Case) -> None:
    body = request_body(case.picture)
    answers: list[Answer] = []
    done = Event()

    def post_until_done(server: Server) -> None:
        while not done.is_set():
            answers.append(server.post(body))

    def scale(server: Server, workers: int) -> None:
        server.manage(f"?min_worker={workers}&max_worker={workers}", "PUT")
        wait_for(lambda: len(server.worker_pids()) == workers)
        so_far = len(answers)
        wait_for(lambda: len(answers) >= so_far + 5)

    with launched(tmp_path, "--archive", archive) as server, ThreadPoolExecutor(3) as clients:
        futures = [clients.submit(post_until_done, server) for _ in range(3)]
        try:
            scale(server, 2)
            scale(server, 1)
        finally:
            done.set()
        for future in futures:
            future.result()
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1  # whichever worker gave it


def test_describe_and_ping(server: Server) -> None:
    [description] = server.manage()
    assert description["modelName"] == "tiny"
    assert [worker["status"] for worker in description["workers"]] == ["READY"]
    ping = send(urllib.request.Request(f"http://127.0.0.1:{server.ports[0]}/ping"))
    assert (ping.status, ping.error()) == (200, {"status": "Healthy"})
