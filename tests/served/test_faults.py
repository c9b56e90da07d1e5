"""What clients get when something fails: a worker killed, a server stopped or overrun, a client gone."""

import http.client
import logging
import re
import socket
import struct
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from tensormask_server import Predictor
from tensormask_server.client import Client
from tensormask_server.torchserve.java_memory import memory_for
from tensormask_server.torchserve.properties import read_properties
from tensormask_server.torchserve.served_archive import served_model

from reference.cases import Case
from tests.served.conftest import ROOT, THRESHOLD, Server, launched, request_body
from tests.waiting import PATIENCE, wait_for

BATCH = 4  # of the archive


def taken(server: Server) -> int:
    """How many requests TorchServe has taken so far, answered or not."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports[2]}/metrics", timeout=PATIENCE) as response:
        counts = re.findall(r"^ts_inference_requests_total\{.*\} ([\d.]+)$", response.read().decode(), re.MULTILINE)
    return sum(int(float(count)) for count in counts)


@contextmanager
def paused(server: Server) -> Iterator[psutil.Process]:
    """The server's only worker, which does nothing meanwhile."""
    [pid] = server.worker_pids()
    worker = psutil.Process(pid)
    worker.suspend()
    try:
        yield worker
    finally:
        if worker.is_running():
            worker.resume()


def test_a_killed_worker_costs_its_requests_another_try_and_none_a_wrong_response(
    server: Server, predictor: Predictor, case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tensormask_server.client")
    before = taken(server)
    client = Client(server.url, waits=(0.1,) * 60, timeout=60)  # a worker that starts on a busy machine takes long
    with ThreadPoolExecutor(6) as pool:
        with paused(server) as worker:
            futures = [pool.submit(client.predict, case.image) for _ in range(6)]
            wait_for(lambda: taken(server) == before + 6, "six requests in TorchServe's hands")
            worker.kill()
        [expected] = predictor([case.image], THRESHOLD)
        for future in futures:
            np.testing.assert_array_equal(future.result().masks, expected.masks)
    assert "trying again" in caplog.text
    assert worker.pid not in server.worker_pids()


def test_what_no_longer_fits_into_the_queue_is_a_503_at_once(server: Server, archive: Path) -> None:
    properties = read_properties(ROOT / "config.properties")
    queue = memory_for(properties, [served_model(archive)], None, is_ours=True).queue  # of this machine's memory
    more = 20
    before = taken(server)
    with ThreadPoolExecutor(queue + BATCH + more) as pool:
        with paused(server):
            responses = [pool.submit(server.post, b"{") for _ in range(queue + BATCH + more)]
            wait_for(
                lambda: sum(response.done() for response in responses) >= more, "the responses to what no longer fits"
            )
            wait_for(lambda: taken(server) == before + queue + BATCH + more, "all requests in TorchServe's hands")
        statuses = [response.result().status for response in responses]
    assert set(statuses) == {503, 400}
    assert more <= statuses.count(503) < more + BATCH  # the worker may have had less than a batch


def test_a_client_that_goes_away_costs_the_others_nothing(server: Server, case: Case) -> None:
    body = request_body(case.image)
    head = f"POST /predictions/{server.name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    before = taken(server)
    pids = server.worker_pids()
    at_once = struct.pack("ii", 1, 0)  # closing resets the connection

    @contextmanager
    def going(sent: bytes) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", server.ports[0])) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            gone.sendall(sent)
            yield gone

    with going(head + body[:1000]):
        pass
    with paused(server), going(head + body):
        wait_for(lambda: taken(server) == before + 1, "the request in TorchServe's hands")
    with going(head + body) as reading:
        assert reading.recv(9) == b"HTTP/1.1 "
    assert server.post(body).tensors()["scores"].numel() > 3
    assert server.worker_pids() == pids


def test_after_sigterm_requests_in_hand_get_their_responses_and_new_ones_are_refused(
    archive: Path, tmp_path: Path, case: Case
) -> None:
    body = request_body(case.image)
    with (
        launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server,
        ThreadPoolExecutor(6) as pool,
    ):
        assert server.process is not None
        assert server.process.stdout is not None
        idle = http.client.HTTPConnection("127.0.0.1", server.ports[0])
        idle.request("POST", f"/predictions/{server.name}", body, {"Content-Type": "application/json"})
        assert idle.getresponse().read()
        ahead = socket.create_connection(("127.0.0.1", server.ports[0]))
        with paused(server):
            responses = [pool.submit(server.post, body) for _ in range(6)]
            wait_for(lambda: taken(server) == 7, "seven requests in TorchServe's hands")
            server.process.terminate()
            while "stopping when" not in (line := server.process.stdout.readline()):
                assert line
            assert "stopping when 6 requests" in line
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", server.ports[0]))
        assert [response.result().status for response in responses] == [200] * 6
        assert server.process.wait(timeout=PATIENCE) == 0
        ahead.close()
        idle.close()
