"""Several models on one server: each has a name, workers and a queue of its own."""

import io
import json
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from tensormask_server import load_predictor
from tensormask_server.models.table import model_named
from tensormask_server.torchserve.served_archive import served_model
from tensormask_server.torchserve.worker_memory import worker_memory

from reference.cases import Case
from tests.served.conftest import ROOT, Server, launched, request_body, send
from tests.served.gateways import gateway_of
from tests.served.test_launcher import assert_one_line, changed, run_launcher
from tests.waiting import PATIENCE, wait_for

PHOTOGRAPH = (ROOT / "demo/images/composed.jpg").read_bytes()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the demo's model."""
    store = tmp_path_factory.mktemp("demo")
    command = [ROOT / "archive.sh", "--model", "demo", "--output", store]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    return store / "demo.mar"


@pytest.fixture(scope="module")
def both(archive: Path, demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the demo's model and a small one of the reference."""
    folder = tmp_path_factory.mktemp("both")
    with launched(folder, "--archive", demo, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as running:
        yield running


def of(server: Server, name: str) -> Server:
    """The server as a client of one of its models sees it."""
    return Server(server.ports, name, server.process, server.state)


def instances(server: Server, name: str, image: bytes) -> list[dict[str, object]]:
    response = of(server, name).post(image, "image/jpeg")
    assert response.status == 200, response.body
    content = json.loads(response.body)
    assert content["model"] == name
    return content["instances"]


def test_each_model_answers_under_its_name(both: Server, case: Case) -> None:
    assert both.name == "demo"  # the first one is the one of the READY line
    found = instances(both, "demo", PHOTOGRAPH)
    [expected] = load_predictor("demo")([np.asarray(Image.open(io.BytesIO(PHOTOGRAPH)))], 0.5)
    assert [each["score"] for each in found] == pytest.approx([float(each) for each in expected.scores], abs=1e-3)
    assert found
    small = of(both, "tiny").post(request_body(case.image)).tensors()
    assert small["pred_masks"].shape[1:] == case.image.shape[:2]
    with urllib.request.urlopen(f"http://127.0.0.1:{both.ports[1]}/models", timeout=PATIENCE) as response:
        assert sorted(each["modelName"] for each in json.load(response)["models"]) == ["demo", "tiny"]
    absent = of(both, "absent").post(PHOTOGRAPH, "image/jpeg")
    assert absent.status == 404


def test_each_model_has_its_page(both: Server) -> None:
    for name, word in (("demo", b"emoji"), ("tiny", b"class 4")):
        headers = {"Accept": "text/html"}
        page = send(urllib.request.Request(of(both, name).url, headers=headers))
        assert page.status == 200
        assert word in page.body
        assert f"/{name}".encode() in page.body or name.encode() in page.body


def test_the_gateway_lists_the_models_and_takes_the_name_of_one(both: Server, tmp_path: Path) -> None:
    with gateway_of(both, tmp_path) as gateway:
        with urllib.request.urlopen(f"{gateway.url}/v1/models", timeout=PATIENCE) as response:
            content = json.load(response)
        demo, tiny = sorted(content["models"], key=lambda each: each["name"])
        assert sorted(content["data"]) == ["demo", "tiny"]  # for X-AnyLabeling
        assert demo["name"] == "demo"
        assert demo["about"] == model_named("demo").classes
        assert len(demo["classes"]) == 20
        assert tiny["classes"] == [f"class {number}" for number in range(5)]
        assert tiny["weights_bytes"] > demo["weights_bytes"] > 1_000_000
        assert tiny["has_masks"]
        with urllib.request.urlopen(f"{gateway.url}/", timeout=PATIENCE) as response:
            page = response.read().decode()
            assert "script" not in page
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert re.findall(r'<h2><a href="([^"]*)"', page) == ["/?model=demo", "/?model=tiny"]
        assert f"It knows {demo['about']}." in page
        with urllib.request.urlopen(f"{gateway.url}/?model=tiny", timeout=PATIENCE) as response:
            assert "<script" in response.read().decode()  # the model's own page
        unnamed = urllib.request.Request(f"{gateway.url}/v1/segment", data=PHOTOGRAPH, method="POST")
        unnamed.add_header("Content-Type", "image/jpeg")
        refused = send(unnamed)
        assert refused.status == 400
        assert "demo, tiny" in refused.error()["expected"]
        unnamed.full_url = f"{gateway.url}/v1/segment?model=tiny"
        assert json.loads(send(unnamed).body)["model"] == "tiny"


def test_requests_to_one_model_do_not_wait_for_the_others(both: Server, case: Case) -> None:
    [pid] = of(both, "tiny").worker_pids()
    worker = psutil.Process(pid)
    with ThreadPoolExecutor(8) as pool:
        worker.suspend()
        try:
            waiting = [pool.submit(of(both, "tiny").post, request_body(case.image)) for _ in range(8)]
            for _ in range(3):
                assert instances(both, "demo", PHOTOGRAPH)
            assert not any(each.done() for each in waiting)
        finally:
            worker.resume()
        assert {each.result().status for each in waiting} == {200}


def test_a_worker_that_dies_is_replaced_and_the_other_model_keeps_its_own(both: Server, case: Case) -> None:
    [mine], [others] = of(both, "tiny").worker_pids(), of(both, "demo").worker_pids()
    psutil.Process(mine).kill()
    assert instances(both, "demo", PHOTOGRAPH)
    wait_for(lambda: of(both, "tiny").worker_pids() not in ([], [mine]), "another worker")
    assert of(both, "tiny").post(request_body(case.image)).status == 200
    assert of(both, "demo").worker_pids() == [others]
    assert both.process is not None
    assert both.process.poll() is None


def test_one_model_is_scaled_without_the_other(both: Server) -> None:
    before = of(both, "demo").worker_pids()
    of(both, "tiny").manage("?min_worker=2&max_worker=2", "PUT")
    wait_for(lambda: len(of(both, "tiny").worker_pids()) == 2, "two workers")

    def scaled_back() -> bool:  # the relay admits a change once the workers of the one before are ready
        path = f"http://127.0.0.1:{both.ports[1]}/models/tiny?min_worker=1&max_worker=1"
        return send(urllib.request.Request(path, method="PUT")).status == 202

    wait_for(scaled_back, "the next change", every=0.5)
    wait_for(lambda: len(of(both, "tiny").worker_pids()) == 1, "one worker")
    assert of(both, "demo").worker_pids() == before


def test_the_workers_take_no_more_memory_than_was_said(both: Server, case: Case, archive: Path, demo: Path) -> None:
    of(both, "tiny").post(request_body(case.image))
    of(both, "demo").post(PHOTOGRAPH, "image/jpeg")
    for name, file in (("tiny", archive), ("demo", demo)):
        [pid] = of(both, name).worker_pids()
        status = Path(f"/proc/{pid}/status").read_text()
        [peak] = re.findall(r"VmHWM:\s+(\d+) kB", status)
        taken, said = int(peak) << 10, worker_memory(file, served_model(file))
        assert taken < said, (name, taken, said)
        assert said < 4 * taken  # it is an estimate, not a guess


def test_several_models_by_name_and_their_urls_and_memory_are_said(tmp_path: Path, archive: Path, demo: Path) -> None:
    with launched(tmp_path, "--archive", demo, "--archive", archive, PATH="", OMP_NUM_THREADS="1") as server:
        assert server.process is not None
        assert server.process.stdout is not None
        lines = iter(server.process.stdout.readline, "")
        assert any(f"http://127.0.0.1:{server.ports[0]}/tiny/predict" in line for line in lines)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=PATIENCE) == 0


def test_the_memory_of_all_processes_is_said_before_the_start(tmp_path: Path, archive: Path, demo: Path) -> None:
    result = run_launcher(tmp_path, "--archive", demo, "--archive", archive, "--ts-config", "absent.properties")
    assert_one_line(result, 1, "absent.properties")
    taken = run_launcher(tmp_path, "--archive", demo, "--archive", archive, "--metrics-host", "192.0.2.1")
    assert re.search(
        r"Memory: about \d+\.\d GiB for workers \(demo \d\.\d, tiny \d\.\d\), up to \d+\.\d GiB for Java, of",
        taken.stdout,
    )
    assert_one_line(taken, 1, "choose another with --metrics-host")


def test_models_that_can_not_fit_are_refused_with_the_sum(tmp_path: Path, archive: Path, demo: Path) -> None:
    machine = f"{psutil.virtual_memory().total >> 20}m"
    result = run_launcher(tmp_path, "--archive", demo, "--archive", archive, "--memory", machine)
    if "expected at most the" in result.stderr:  # a control group allows less
        pytest.skip("the machine's memory is limited by its control group")
    assert_one_line(result, 1, "the workers take about")
    assert "expected fewer models or workers, or a smaller --memory" in result.stderr


def test_a_wrong_archive_of_two_is_named_before_anything_starts(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "other").mkdir()
    twin = shutil.copy(archive, tmp_path / "other" / "tiny.mar")
    damaged = changed(archive, tmp_path / "damaged.mar", "classes.txt", b"others\n")
    cut = tmp_path / "cut.mar"
    cut.write_bytes(archive.read_bytes()[:-1000])
    for wrong, said in (
        (twin, "would both be served as tiny; expected archives of different names: rename one of the files"),
        (tmp_path / "absent.mar", "there is no archive"),
        (damaged, "classes.txt"),
        (cut, "cut.mar is not a model archive, or damaged"),
    ):
        for order in ((archive, wrong), (wrong, archive)):
            arguments = [word for each in order for word in ("--archive", each)]
            assert_one_line(run_launcher(tmp_path, *arguments), 1, said)
    assert not (tmp_path / "logs").exists()  # no Java has run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "demo", "--model", "demo"), "--model demo is given 2 times; expected each model once"),
        (("--model", "demo", "--model", "dmeo"), "there is no model 'dmeo'"),
        (("--model", "demo", "--model", "tensormask_R_50_FPN_6x", "--name", "x"), "--name is given with 2 models"),
    ],
)
def test_wrong_models_are_named_before_a_download(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    assert_one_line(run_launcher(tmp_path, *arguments, "--offline"), 2, said)


def test_a_model_of_two_that_can_not_be_loaded_is_named(
    tmp_path: Path, archive: Path, case: Case, weights: Path
) -> None:
    command = [ROOT / "archive.sh", "--config", case.config, "--weights", weights, "--output", tmp_path]
    command += ["--name", "elsewhere", "--device", "cuda"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    result = run_launcher(tmp_path, "--archive", archive, "--archive", tmp_path / "elsewhere.mar")
    assert_one_line(result, 1, "elsewhere: the model can't be loaded: device is cuda")
