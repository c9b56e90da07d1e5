"""A real torchserve for the tests: the tensormask-server command with the reference's small network."""

import gzip
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import SystemRandom
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from tensormask_server import Predictor, load_predictor

from reference.cases import Case, load_case, write_weights
from tests.waiting import PATIENCE, wait_for

ROOT = Path(__file__).parents[2]
LAUNCHER = Path(sys.executable).with_name("tensormask-server")
THRESHOLD = 0.1
ENGINE = os.environ.get("ENGINE", "native")  # of the server that most tests share: ENGINE=openvino tries them with it
DEMO = ROOT / "demo" / "model"
DEMO_NETWORK = ["--config", DEMO / "config.yaml", "--weights", DEMO / "weights.pkl", "--classes", DEMO / "classes.txt"]
COVERAGE = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}  # of make coverage
CHOICE = SystemRandom()  # tests' own random numbers are the same in each process
PORTS = range(20_000, 32_768)  # Ray's workers take ports below, and Linux gives those above to clients
MARKS: deque[socket.socket] = deque()  # of the ports that this process was given last
MOST_MARKS = 100  # earlier ports have their servers


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int
    content_type: str | None
    body: bytes

    def tensors(self) -> dict[str, torch.Tensor]:
        """As the published snippet reads it."""
        assert self.status == 200, self.body
        with gzip.open(io.BytesIO(self.body)) as file:
            content: dict[str, torch.Tensor] = torch.load(io.BytesIO(file.read()), weights_only=True)
        return content

    def error(self) -> dict[str, str]:
        content: dict[str, str] = json.loads(self.body)
        return content


@dataclass(frozen=True)
class Server:
    """A running server's addresses."""

    ports: tuple[int, int, int]  # inference, management, metrics
    name: str
    process: subprocess.Popen[str] | None = None  # of the command, where that is what was started
    state: Path = Path()  # XDG_STATE_HOME of the command
    behind_gateway: int | None = None  # TorchServe's inference port, where the first of `ports` is the gateway's

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}/predictions/{self.name}"

    @property
    def private_folder(self) -> Path:
        return self.state / "tensormask-server" / str(self.ports[1])

    @property
    def key_file(self) -> Path:
        return self.private_folder / "key_file.json"

    @property
    def torchserve_port(self) -> int:
        """TorchServe's inference port, also where requests go through a gateway."""
        return self.behind_gateway or self.ports[0]

    @property
    def refusals(self) -> set[str]:
        """What becomes of a request for which Java has no memory. A gateway makes a 502 of a closed connection."""
        return {"503", "closed"} if self.behind_gateway is None else {"503", "closed", "502"}

    def keys(self) -> dict[str, str]:
        """The token of each door: "inference", "management" and "API"."""
        return {door: content["key"] for door, content in json.loads(self.key_file.read_text()).items()}

    def processes(self) -> list[psutil.Process]:
        """The Java frontend and the workers."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def frontend(self) -> psutil.Process:
        [frontend] = [each for each in self.processes() if "org.pytorch.serve.ModelServer" in each.cmdline()]
        return frontend

    def post(self, body: bytes, content_type: str | None = "application/json") -> Response:
        headers = {"Content-Type": content_type} if content_type else {}
        return send(urllib.request.Request(self.url, data=body, headers=headers, method="POST"))

    def manage(self, path: str = "", method: str = "GET") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[1]}/models/{self.name}{path}", method=method)
        return json.loads(send(request).body)

    def worker_pids(self) -> list[int]:
        return [worker["pid"] for worker in self.manage()[0]["workers"] if worker["status"] == "READY"]

    def is_ready(self) -> bool:
        """Whether a worker is; False while nothing answers yet."""
        try:
            return bool(self.worker_pids())
        except (OSError, ValueError, KeyError):
            return False


def send(request: urllib.request.Request) -> Response:
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return Response(response.status, response.headers.get("Content-Type"), response.read())
    except urllib.error.HTTPError as error:
        return Response(error.code, error.headers.get("Content-Type"), error.read())


def request_body(image: np.ndarray, **options: object) -> bytes:
    """The JSON of an RGB image (H, W, 3)."""
    return json.dumps({"img_data": image.transpose(2, 0, 1).tolist(), **options}).encode()


def free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody has, and that no other process of the tests is given meanwhile.

    A name in Linux's abstract namespace marks each port until its server has it, which takes seconds.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = CHOICE.choice(PORTS)
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0tensormask-tests-port-{port}")
            socket.create_server(("", port)).close()
        except OSError:
            mark.close()
            continue
        ports.append(port)
        MARKS.append(mark)
        if len(MARKS) > MOST_MARKS:
            MARKS.popleft().close()
    return tuple(ports)


@contextmanager
def launched(folder: Path, *arguments: object, command: Path = LAUNCHER, **environment: str) -> Iterator[Server]:
    """tensormask-server with these arguments on free ports, from `folder`, once it has said READY.

    With the environment variable THROUGH_GATEWAY, requests go through its gateway, unless the server does TLS or has
    its own.
    """
    may_have_one = not {"--certificate", "--gateway"}.intersection(map(str, arguments))
    gateway = free_ports(1) if os.environ.get("THROUGH_GATEWAY") and may_have_one else ()
    more = [word for port in gateway for word in ("--gateway", port)]
    with starting(folder, *arguments, *more, command=command, **environment) as server:
        running = ready(server)
        for port in gateway:
            wait_for(lambda port=port: is_listening(port), "the gateway")
            running = replace(running, ports=(port, *running.ports[1:]), behind_gateway=running.ports[0])
        yield running


def is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def starting(folder: Path, *arguments: object, command: Path = LAUNCHER, **environment: str) -> Iterator[Server]:
    """The same, just started: it has no name yet."""
    ports = free_ports(3)
    words = [str(command), "-p", str(ports[0]), "--management-port", str(ports[1]), "--metrics-port", str(ports[2])]
    with tempfile.TemporaryDirectory(prefix="tm-") as state:  # sockets are made in it: their paths have to be short
        process = subprocess.Popen(
            [*words, *(str(argument) for argument in arguments)],
            cwd=folder,
            env={"XDG_STATE_HOME": state, **COVERAGE, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield Server((ports[0], ports[1], ports[2]), "", process, Path(state))
        finally:
            if COVERAGE:
                end_workers(process)
            process.terminate()
            process.wait(timeout=PATIENCE)
            process.stdout.close()


def end_workers(launcher: subprocess.Popen[str]) -> None:
    """Ends the workers by SIGTERM, at which coverage writes what it has seen. The launcher kills them by SIGKILL."""
    with suppress(psutil.Error):
        children = psutil.Process(launcher.pid).children(recursive=True)
        workers = [child for child in children if any("model_service_worker" in word for word in child.cmdline())]
        for worker in workers:
            worker.terminate()
        psutil.wait_procs(workers, timeout=20)


def ready(server: Server) -> Server:
    """Waits until it has said READY; with its name."""
    assert server.process is not None
    assert server.process.stdout is not None
    printed = []
    for line in server.process.stdout:
        printed.append(line)
        if line.startswith("READY"):
            return replace(server, name=line.split()[1].split("/")[-2])
    pytest.fail(f"tensormask-server ended:\n{''.join(printed)}")


@pytest.fixture(scope="session")
def case() -> Case:
    return load_case("tiny")


@pytest.fixture(scope="session")
def weights(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(case, tmp_path_factory.mktemp("weights") / "tiny.pkl")


@pytest.fixture(scope="session")
def archive(case: Case, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made by archive.sh, with batches that wait long enough to come together."""
    store = tmp_path_factory.mktemp("model_store")
    command = [ROOT / "archive.sh", "--config", case.config, "--weights", weights, "--output", store]
    command += ["--name", "tiny", "--threshold", THRESHOLD, "--batch-size", "4", "--max-batch-delay", "100"]
    command += ["--engine", ENGINE]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return store / "tiny.mar"


@pytest.fixture(scope="session")
def server(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that leave it as it was. Its PATH has no Java."""
    with launched(tmp_path_factory.mktemp("server"), "--archive", archive, PATH="") as running:
        yield running


@pytest.fixture(scope="session")
def predictor(case: Case, weights: Path) -> Predictor:
    return load_predictor(case.config, weights)


@pytest.fixture(scope="module")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the demo's model."""
    model = ROOT / "demo" / "model"
    network = [
        "--config",
        model / "config.yaml",
        "--weights",
        model / "weights.pkl",
        "--classes",
        model / "classes.txt",
    ]
    with launched(tmp_path_factory.mktemp("demo"), *network, "--name", "demo", PATH="") as running:
        yield running
