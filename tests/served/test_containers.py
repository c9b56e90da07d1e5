"""What the image, its probes, Prometheus and the autoscaler rely on, of a server that the image's command started."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tensormask_server import health

from reference.cases import Case
from tests.manifests import DEPLOY, instructions, pod_specs, read
from tests.served.conftest import Server, launched, request_body, send
from tests.served.test_metrics import exported_with
from tests.served.test_security import listening
from tests.waiting import PATIENCE, wait_for

CONTAINER = pod_specs()["kubernetes/base/deployment.yaml"]["containers"][0]
ANNOTATIONS = read("kubernetes/base/deployment.yaml")["spec"]["template"]["metadata"]["annotations"]


@pytest.fixture(scope="module")
def contained(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The image's ENTRYPOINT with the Deployment's arguments, but for the ports and the folders."""
    folder = tmp_path_factory.mktemp("contained")
    shutil.copy(archive, folder / "tensormask.mar")
    [entrypoint] = [json.loads(value) for instruction, value in instructions() if instruction == "ENTRYPOINT"]
    places = {"/models": str(folder), "/tmp": str(folder)}
    words = [
        re.sub("^/(models|tmp)", lambda place: places[place[0]], word) for word in [*entrypoint, *CONTAINER["args"]]
    ]
    with launched(folder, *words[1:], PATH="", OMP_NUM_THREADS="1") as server:
        yield server


def probe(server: Server, name: str) -> subprocess.CompletedProcess[str]:
    """As the kubelet runs it, but for the port."""
    _, *words = CONTAINER[name]["exec"]["command"]
    command = [sys.executable, *words, "--management-port", str(server.ports[1])]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def is_live(server: Server, timeout: float = PATIENCE) -> bool:
    url = f"http://127.0.0.1:{server.ports[0]}{CONTAINER['livenessProbe']['httpGet']['path']}"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            return bool(200 <= response.status < 400)
    except OSError:
        return False


def is_ready(server: Server) -> bool:
    try:
        return bool(health.ready_workers(server.ports[1]))
    except health.NotReady:
        return False


def workers(server: Server) -> list[psutil.Process]:
    """The worker processes, READY or not."""
    assert server.process is not None
    started = psutil.Process(server.process.pid).children(recursive=True)
    return [process for process in started if is_worker(process)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return any("model_service_worker" in word for word in process.cmdline())
    except psutil.Error:  # it has ended
        return False


@contextmanager
def new_worker_held(server: Server, old: int) -> Iterator[None]:
    """The worker that TorchServe starts in the old one's place is paused meanwhile, so it can't be READY too soon."""
    new = wait_for(lambda: [each for each in workers(server) if each.pid != old], "a worker in the old one's place")
    for process in new:
        process.suspend()
    try:
        yield
    finally:
        for process in new:
            process.resume()


def test_a_server_that_answers_is_ready_and_live(contained: Server) -> None:
    for name in ("startupProbe", "readinessProbe"):
        result = probe(contained, name)
        assert (result.returncode, result.stdout) == (0, "ready: tensormask (1 workers)\n"), result.stderr
    assert is_live(contained)


def test_a_worker_that_is_started_again_is_not_ready_but_live(contained: Server, case: Case) -> None:
    [pid] = contained.worker_pids()
    psutil.Process(pid).kill()
    with new_worker_held(contained, pid):
        wait_for(lambda: not is_ready(contained), "the readiness probe to miss the worker")
        result = probe(contained, "readinessProbe")
        assert result.returncode == 1
        assert "tensormask has no READY worker" in result.stderr
        assert is_live(contained)
    wait_for(lambda: is_ready(contained), "a READY worker")
    assert contained.post(request_body(case.image)).status == 200


def test_a_frontend_that_hangs_is_neither_ready_nor_live(contained: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 1)
    assert contained.process is not None
    started = psutil.Process(contained.process.pid).children(recursive=True)
    [frontend] = [process for process in started if "org.pytorch.serve.ModelServer" in process.cmdline()]
    frontend.send_signal(signal.SIGSTOP)
    try:
        assert not is_live(contained, timeout=1)
        assert not is_ready(contained)
    finally:
        frontend.send_signal(signal.SIGCONT)
    wait_for(lambda: is_ready(contained), "a READY worker")
    assert is_live(contained)


def test_without_a_server_nothing_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main(["--management-port", "9"]) == 1
    assert "the management API on port 9 doesn't respond" in capsys.readouterr().err


def test_only_predictions_and_metrics_can_be_reached_from_other_pods(contained: Server) -> None:
    inference, management, metrics = contained.ports
    elsewhere = {port for address, port in listening(contained) if address not in ("127.0.0.1", "::1")}
    assert elsewhere == {inference, metrics}
    assert management not in elsewhere
    for path in ("/models", "/models/tensormask", "/predictions/tensormask"):
        assert send(urllib.request.Request(f"http://127.0.0.1:{metrics}{path}")).status >= 400


def test_prometheus_finds_what_the_autoscaler_counts(contained: Server, case: Case) -> None:
    """The time in the server is all of it, the queue's too: so that by Little's law it tells how many are in it."""
    assert ANNOTATIONS["prometheus.io/path"] == "/metrics"  # what exported() asks for
    [rule] = read("kubernetes/prometheus-adapter.yaml")["rules"]["custom"]
    series = re.split("[{]", rule["seriesQuery"])[0]
    labels = '{model_name="tensormask",model_version="default"'
    contained.post(request_body(case.image))
    before = exported_with(contained, series + labels, 1)
    start = time.perf_counter()
    assert contained.post(request_body(case.image)).status == 200
    took = (time.perf_counter() - start) * 1e6
    after = exported_with(contained, series + labels, before[series + labels] + 1)
    queue = "ts_queue_latency_microseconds" + labels
    assert after[queue] - before[queue] < after[series + labels] - before[series + labels] < took


def test_kserves_two_protocols_work(contained: Server, case: Case) -> None:
    base = f"http://127.0.0.1:{contained.ports[0]}"
    image = case.image
    v1 = {"instances": [{"img_data": image.tolist()}]}
    tensor = {"name": "image", "shape": list(image.shape), "datatype": "UINT8", "data": image.ravel().tolist()}
    for path, body, key in (
        ("/v1/models/tensormask:predict", v1, "predictions"),
        ("/v2/models/tensormask/infer", {"inputs": [tensor]}, "outputs"),
    ):
        headers = {"Content-Type": "application/json"}
        response = send(urllib.request.Request(base + path, json.dumps(body).encode(), headers))
        assert response.status == 200, response.body
        assert len(json.loads(response.body)[key]) == 1
        assert path in (DEPLOY / "kserve" / "inference-service.yaml").read_text()
