"""The tensormask-server command: one line for what goes wrong, and nothing left running."""

import http.client
import signal
import socket
import subprocess
import time
import urllib.request
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import torch
from tensormask_server.prediction.cpu import faster_precision, warn_if_emulated

from reference.cases import Case
from tests.served.conftest import LAUNCHER, free_ports, launched, request_body, send
from tests.served.test_faults import paused, taken
from tests.waiting import PATIENCE, wait_for

HAS_DETECTRON2 = find_spec("detectron2") is not None


def run_launcher(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    ports = free_ports(3)
    addresses = ["-p", ports[0], "--management-port", ports[1], "--metrics-port", ports[2]]
    command = [str(word) for word in (LAUNCHER, *addresses, *arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


def assert_one_line(result: subprocess.CompletedProcess[str], status: int, said: str) -> None:
    assert result.returncode == status
    [line] = result.stderr.strip().splitlines()
    assert line.startswith("tensormask-server: ")
    assert said in line


def changed(archive: Path, copy: Path, entry: str, content: bytes | None) -> Path:
    """A copy of the archive with one of its files changed, or without it."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(copy, "w") as new:
        for item in old.infolist():
            if item.filename != entry:
                new.writestr(item, old.read(item))
        if content is not None:
            new.writestr(entry, content)
    return copy


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_from_a_configuration_and_weights_to_a_response_and_nothing_left(
    tmp_path: Path, case: Case, weights: Path, number: signal.Signals
) -> None:
    with launched(tmp_path, "-cp", case.config, "-tp", weights, "-t", 0.9, "--name", "own", PATH="") as server:
        assert server.name == "own"
        assert len(server.post(request_body(case.image)).tensors()["scores"]) < 3  # the threshold of -t
        processes = server.processes()
        assert len(processes) >= 2
        server.process.send_signal(number)
        time.sleep(0.1)
        server.process.send_signal(number)  # as impatient people do
        assert server.process.wait(timeout=PATIENCE) == 0
        assert not psutil.wait_procs(processes, timeout=PATIENCE)[1]


def test_a_dead_frontend_is_reported_and_nothing_is_left(tmp_path: Path, archive: Path) -> None:
    with launched(tmp_path, "--archive", archive) as server:
        processes = server.processes()
        server.frontend().kill()
        assert server.process.wait(timeout=PATIENCE) == 1
        assert server.process.stdout is not None
        assert "torchserve has ended" in server.process.stdout.read()
        assert not psutil.wait_procs(processes, timeout=PATIENCE)[1]


def test_a_worker_that_can_not_be_started_again_ends_the_server(tmp_path: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as content:
        settings = content.read("model-config.yaml") + b"maxRetryTimeoutInSec: 5\n"
    impatient = changed(archive, tmp_path / "impatient.mar", "model-config.yaml", settings)
    with launched(tmp_path, "--archive", impatient, PATH="", OMP_NUM_THREADS="1") as server:
        assert server.process is not None
        assert server.process.stdout is not None
        [pid] = server.worker_pids()
        worker = psutil.Process(pid)
        (Path(worker.cwd()) / "classes.txt").write_text("others")
        worker.kill()
        assert server.process.wait(timeout=PATIENCE) == 1
        said = server.process.stdout.read()
        assert "no worker could be started again: classes.txt isn't what was archived" in said


def test_a_worker_that_starts_at_the_second_try_serves_on(tmp_path: Path, archive: Path, case: Case) -> None:
    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        assert server.process is not None
        [pid] = server.worker_pids()
        worker = psutil.Process(pid)
        names = Path(worker.cwd()) / "classes.txt"
        archived = names.read_bytes()
        names.write_text("others")
        worker.kill()
        wait_for(lambda: "LOAD FAILED" in (tmp_path / "logs" / "model_log.log").read_text(), "a load that failed")
        names.write_bytes(archived)
        wait_for(lambda: server.worker_pids() not in ([], [pid]), "another worker")
        assert server.post(request_body(case.image)).status == 200
        assert server.process.poll() is None


def test_it_outlives_its_terminal_where_nohup_starts_it(tmp_path: Path, archive: Path, case: Case) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does, for what it starts
    try:
        with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
            assert server.process is not None
            server.process.send_signal(signal.SIGHUP)
            time.sleep(1)
            assert server.post(request_body(case.image)).status == 200
    finally:
        signal.signal(signal.SIGHUP, before)


def test_requests_that_a_stopped_launcher_holds_up_get_their_responses_when_it_continues(
    tmp_path: Path, archive: Path
) -> None:
    """TorchServe prints a line for each. Nobody reads it while the launcher is stopped, as by Ctrl-Z."""
    statuses: list[int] = []

    def ask() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", server.ports[0], timeout=PATIENCE)) as connection:
            for _ in range(2000):
                connection.request("GET", "/ping")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)

    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            wait_for(lambda: len(statuses) > 500, "responses without the launcher")
            server.process.send_signal(signal.SIGCONT)
            asking.result()
    assert statuses == [200] * 2000


def test_it_serves_and_finishes_where_nobody_reads_what_it_prints(tmp_path: Path, archive: Path, case: Case) -> None:
    with launched(tmp_path, "--archive", archive, "--idle-timeout", 1, PATH="", OMP_NUM_THREADS="1") as server:
        assert server.process is not None
        assert server.process.stdout is not None
        server.process.stdout.close()
        for _ in range(2):  # the first one's end can't be printed
            with socket.create_connection(("127.0.0.1", server.ports[0]), timeout=PATIENCE) as idle:
                assert idle.recv(1) == b""
        before = taken(server)
        with ThreadPoolExecutor(1) as pool:
            with paused(server):
                response = pool.submit(server.post, request_body(case.image))
                wait_for(lambda: taken(server) > before, "a request in TorchServe's hands")
                server.process.terminate()
                time.sleep(1)
                assert server.process.poll() is None
            assert response.result(PATIENCE).status == 200
        assert server.process.wait(timeout=PATIENCE) == 0


def test_a_much_faster_precision_is_named(tmp_path: Path, case: Case, weights: Path) -> None:
    faster = faster_precision(torch.float32)
    if not faster:
        pytest.skip("this CPU has no instructions for bfloat16")
    with launched(tmp_path, "-cp", case.config, "-tp", weights, PATH="") as server:
        assert server.process.stdout is not None
        said = [server.process.stdout.readline() for _ in range(3)]
        assert said[-1] == f"Hint:  {faster}\n"


def test_a_precision_that_the_cpu_emulates_is_reported_and_serves(tmp_path: Path, case: Case, weights: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warn_if_emulated(torch.float16)
    if not caught:
        pytest.skip("this CPU computes in float16 by itself")
    with launched(tmp_path, "-cp", case.config, "-tp", weights, "--precision", "float16", PATH="") as server:
        assert server.process.stdout is not None
        said = [server.process.stdout.readline() for _ in range(3)]
        assert said[-1] == "Slow:  this CPU emulates float16, which takes several times as long as float32\n"
        assert server.post(request_body(case.image)).status == 200


def test_options_that_stand_in_the_archive_are_refused_beside_it(tmp_path: Path, archive: Path) -> None:
    result = run_launcher(tmp_path, "--archive", archive, "-t", "0.3", "--max-pixels", "5")
    assert result.returncode == 2
    assert "--threshold, --max-pixels: with --archive the archive decides these" in result.stderr


@pytest.mark.parametrize("option", ["--port", "--management-port", "--metrics-port"])
def test_a_taken_port_is_named_with_the_option_that_changes_it(tmp_path: Path, archive: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_launcher(tmp_path, "--archive", archive, option, port)
    own = psutil.Process()
    said = (
        f"can't listen on http://127.0.0.1:{port}: Address already in use by {own.name()} (process {own.pid}); expected"
    )
    assert_one_line(result, 1, f"{said} a port that no other program uses: choose another with {option} PORT")


def test_ports_of_a_running_server_are_told_with_its_process(tmp_path: Path, archive: Path) -> None:
    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        assert server.process is not None
        pid = server.process.pid
        for option, port in zip(("--port", "--management-port", "--metrics-port"), server.ports, strict=True):
            result = run_launcher(tmp_path, "--archive", archive, option, port)
            said = f"Address already in use by a tensormask-server (process {pid}, which kill {pid} stops); expected"
            assert_one_line(result, 1, said)
            assert f"choose another with {option} PORT" in result.stderr


def test_classes_without_names_are_told(tmp_path: Path, case: Case, weights: Path) -> None:
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    said = "Note:  the network's classes have no names, and are called class 0 to class 4; --classes FILE names them"
    for given, noted in (((), True), (("--classes", "names.txt"), False)):
        # the missing file ends the command after the archive is made
        arguments = ["-cp", case.config, "-tp", weights, "--ts-config", "absent.properties", *given]
        assert (f"{said}, one a line\n" in run_launcher(tmp_path, *arguments).stdout) == noted


def test_two_servers_in_one_folder_write_to_logs_of_their_own(tmp_path: Path, archive: Path) -> None:
    with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as one:
        with launched(tmp_path, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as two:
            for server, folder in ((one, tmp_path / "logs"), (two, tmp_path / "logs" / str(two.ports[1]))):
                [pid] = server.worker_pids()
                assert f"[PID]{pid}" in (folder / "model_log.log").read_text()
        assert "[PID]" in (tmp_path / "logs" / "model_log.log").read_text()


def test_it_says_at_once_that_it_starts(tmp_path: Path) -> None:
    result = run_launcher(tmp_path, "--archive", "absent.mar")
    assert result.stdout.splitlines() == ["starting; READY follows when the server answers (Ctrl-C stops)"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--manegement-port", "1"), "unknown arguments: --manegement-port 1 (did you mean --management-port?)"),
        (("--no-token",), "unknown arguments: --no-token (did you mean --no-tokens?)"),
        (("--memory", "4"), "'4' is a size of 4 bytes; expected a whole number with m or g (did you mean 4g?)"),
        (("--memory", "4096"), "(did you mean 4096m?)"),
    ],
)
def test_a_misspelt_option_is_reported_with_the_one_it_stands_for(
    tmp_path: Path, archive: Path, arguments: tuple[str, ...], said: str
) -> None:
    result = run_launcher(tmp_path, "--archive", archive, *arguments)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--management-port", 8091, "--metrics-port", 8091),
            "--management-port and --metrics-port are both 8091; expected two ports",
        ),
        (("-h", "192.0.2.1"), "expected an address of this machine: choose another with --host HOST"),
        (("--metrics-host", "192.0.2.1"), "choose another with --metrics-host HOST"),
        (("--ts-config", "misspelt.txt"), "which TorchServe doesn't know (did you mean disable_token_authorization?)"),
        (("--memory", "9000g"), "--memory is 9216000 MiB; expected at most the "),
        (("--logs", "a.txt"), "can't use a.txt as the folder of the logs: Not a directory"),
        (("--ts-config", "a.txt"), "a.txt has the line 'of text'; expected lines of key=value"),
        (("--memory", "500m"), "500 MiB of memory are too little for Java with 1 workers, batches of 4"),
        (("--ts-config", "small.txt"), "job_queue_size 50 with max_request_size 67108864"),
        (("--ts-config", "empty.txt"), "max_response_size isn't there, which means 6553500, in TorchServe's"),
    ],
)
def test_impossible_settings_are_reported_with_possible_ones(
    tmp_path: Path, archive: Path, arguments: tuple[object, ...], said: str
) -> None:
    (tmp_path / "a.txt").write_text("a=1\n# and a line\nof text\n")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "misspelt.txt").write_text("disable_token_authorisation=false\n")
    sizes = "max_request_size=67108864\nmax_response_size=67108864\n"
    (tmp_path / "small.txt").write_text(f"{sizes}vmargs=-Xmx1g\njob_queue_size=50\n")
    assert_one_line(run_launcher(tmp_path, "--archive", archive, *arguments), 1, said)


def test_an_absent_archive_is_reported_with_those_that_exist(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    assert_one_line(run_launcher(tmp_path, "--archive", "store/x.mar"), 1, "store/x.mar; archive.sh makes one")
    (tmp_path / "store" / "demo.mar").touch()
    for given in ("store/x.mar", "store"):
        assert_one_line(run_launcher(tmp_path, "--archive", given), 1, f"no archive {tmp_path / given}; there is")


@pytest.mark.parametrize(
    ("entry", "content", "said"),
    [
        ("config.yaml", None, "config.yaml is missing"),
        ("weights.safetensors", b"others", "weights.safetensors isn't what was archived"),
        ("tensormask_handler.py", b"", "tensormask_handler.py isn't what was archived"),
        ("SHA256SUMS", None, "of another version"),
        ("MAR-INF/MANIFEST.json", None, "not a model archive"),
        ("model-config.yaml", b"handler: {precision: int8}", "the model can't be loaded: precision is 'int8'"),
    ],
)
def test_an_archive_that_can_not_be_loaded_is_reported(
    tmp_path: Path, archive: Path, entry: str, content: bytes | None, said: str
) -> None:
    broken = changed(archive, tmp_path / "broken.mar", entry, content)
    assert_one_line(run_launcher(tmp_path, "--archive", broken), 1, said)


def test_responses_larger_than_torchserve_lets_pass_are_reported(tmp_path: Path, archive: Path) -> None:
    """One would cost a worker."""
    settings = b"handler: {max_response_bytes: 70000000}"
    other = changed(archive, tmp_path / "other.mar", "model-config.yaml", settings)
    said = "max_response_size is 67108864 in TorchServe's properties; expected more than the 70000000 bytes"
    assert_one_line(run_launcher(tmp_path, "--archive", other), 1, said)


@pytest.mark.skipif(HAS_DETECTRON2, reason="detectron2 is installed: there is nothing to tell")
def test_an_engine_that_is_not_installed_is_reported_with_how_to_install_it(
    tmp_path: Path, archive: Path, case: Case, weights: Path
) -> None:
    """By a worker that can't load its archive, and before anything starts."""
    settings = b"handler: {engine: detectron2}"
    other = changed(archive, tmp_path / "other.mar", "model-config.yaml", settings)
    result = run_launcher(tmp_path, "--archive", other)
    assert_one_line(result, 1, "the model can't be loaded: the engine detectron2 can't be used: No module named")
    assert_one_line(
        result, 1, "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'"
    )
    started = run_launcher(tmp_path, "-cp", case.config, "-tp", weights, "--engine", "detectron2")
    assert_one_line(started, 2, "pip install --no-build-isolation -e detectron2/projects/TensorMask")


def test_half_an_archive_is_reported(tmp_path: Path, archive: Path) -> None:
    content = archive.read_bytes()
    (tmp_path / "half.mar").write_bytes(content[: len(content) // 2])
    assert_one_line(run_launcher(tmp_path, "--archive", "half.mar"), 1, "not a model archive, or damaged")


def test_wrong_files_are_reported_before_anything_starts(tmp_path: Path, case: Case, weights: Path) -> None:
    absent = run_launcher(tmp_path, "-cp", case.config, "-tp", "absent.pkl")
    assert_one_line(absent, 2, "absent.pkl")
    other = case.config.parents[1] / "r50" / "config.yaml"
    assert_one_line(run_launcher(tmp_path, "-cp", other, "-tp", weights), 2, "MODEL.RESNETS.DEPTH")
    assert_one_line(run_launcher(tmp_path, "--archive", "absent.mar"), 1, "absent.mar")


def test_another_host_has_tokens_on_and_management_on_loopback(tmp_path: Path, archive: Path, case: Case) -> None:
    with launched(tmp_path, "--archive", archive, "-h", "0.0.0.0", PATH="") as server:
        assert server.process is not None
        assert server.process.stdout is not None
        said = [server.process.stdout.readline() for _ in range(4)]
        assert said[0].startswith("Try:   curl --fail-with-body -H @token.header -T IMAGE.jpg -o masks.png 'http://")
        assert said[3] == (
            "Note:  tokens and images cross the network in clear text; --certificate and --key encrypt them\n"
        )
        assert server.post(request_body(case.image)).status == 400  # TorchServe's response to a missing token
        assert server.key_file.stat().st_mode & 0o077 == 0
        headers = {"Authorization": f"Bearer {server.keys()['inference']}", "Content-Type": "application/json"}
        assert send(urllib.request.Request(server.url, request_body(case.image), headers)).status == 200
        listening = [each.laddr for each in server.frontend().net_connections() if each.status == "LISTEN"]
        assert {place.port for place in listening if "127.0.0.1" not in place.ip} == {server.ports[0]}
