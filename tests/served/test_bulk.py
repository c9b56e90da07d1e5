"""Many images by Ray: a row for each, once, whatever is killed meanwhile; and the rows are the network's own."""

import hashlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("ray", reason="Ray isn't installed: the extra bulk brings it")

import psutil
import pyarrow.parquet as pq
import ray.util.client.worker
from PIL import Image
from pyarrow.fs import LocalFileSystem
from ray.cluster_utils import Cluster
from tensormask_server import Predictor
from tensormask_server.bulk.__main__ import main
from tensormask_server.bulk.actor import read_limited
from tensormask_server.bulk.model import Network
from tensormask_server.bulk.parts import Parts
from tensormask_server.bulk.places import place_of
from tensormask_server.bulk.run import Pool, ray_cluster, write_parts
from tensormask_server.classes import class_names
from tensormask_server.images.encoded import read_image
from tensormask_server.options import Limits
from tensormask_server.responses.coco import coco_instances

from bench import evaluate_bulk
from reference.cases import Case
from tests.served.coco_folder import THRESHOLD, Folder, annotated_folder
from tests.served.conftest import Server, free_ports
from tests.waiting import PATIENCE, wait_for

COUNT = 12  # annotated images
RUN_PATIENCE = 4 * PATIENCE  # seconds of a whole run, of many images with networks of its own
LARGE = 16  # images that take a while, so that something can be killed meanwhile
on_a_cluster = pytest.mark.extensive  # what needs `cluster`, or tries to reach one
BAD = {"images/empty.png", "images/text.jpg", "images/cut.jpg", "images/huge.png"}


@dataclass(frozen=True)
class Bulk:
    """The command on some images."""

    images: Path
    config: Path
    weights: Path

    def arguments(self, output: Path, *options: object) -> list[str]:
        words = ["--input", self.images, "--output", output, "--config", self.config, "--weights", self.weights]
        return [str(word) for word in (*words, "--threshold", THRESHOLD, "--max-pixels", 2_000_000, *options)]

    def start(self, output: Path, *options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tensormask_server.bulk", *self.arguments(output, *options)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, output: Path, *options: object) -> str:
        """What it prints on stdout."""
        process = self.start(output, *options)
        stdout, stderr = process.communicate(timeout=RUN_PATIENCE)
        assert process.returncode == 1, stderr  # as some images have an error
        return stdout


@pytest.fixture(scope="module")
def folder(case: Case, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Annotated images, and among them what is no image, or is one like no other."""
    folder = annotated_folder(tmp_path_factory.mktemp("bulk"), case, predictor, COUNT)
    input_folder = folder.path / "images"
    for name, part in (("one", case.image[:90]), ("other", case.image[60:])):  # of the same name
        (input_folder / name).mkdir()
        Image.fromarray(part).save(input_folder / name / "same.png")
    Image.fromarray(case.image[..., 0]).save(input_folder / "grey.jpg")
    (input_folder / "empty.png").write_bytes(b"")
    (input_folder / "text.jpg").write_text("not an image")
    (input_folder / "notes.txt").write_text("no image")
    (input_folder / "cut.jpg").write_bytes((input_folder / "grey.jpg").read_bytes()[:300])
    Image.new("RGB", (2000, 1001)).save(input_folder / "huge.png")
    large = Image.fromarray(np.tile(case.image, (8, 8, 1)))
    for i in range(LARGE):
        large.rotate(i).save(input_folder / f"large-{i}.jpg")
    return folder


@pytest.fixture(scope="module")
def bulk(folder: Folder, case: Case, weights: Path) -> Bulk:
    return Bulk(folder.path / "images", case.config, weights)


@pytest.fixture(scope="module")
def complete(bulk: Bulk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on only this machine, without faults."""
    output = tmp_path_factory.mktemp("complete")
    assert f"{COUNT + LARGE + 3 + len(BAD)} images in" in bulk.run(output, "--actors", 2)
    return output


@pytest.fixture(scope="module")
def client_port() -> int:
    """Where the cluster answers Ray's client."""
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def cluster(client_port: int) -> Iterator[Cluster]:
    """A head that has no cores for networks, and two nodes; each is processes of its own, as on as many machines."""
    head = {"num_cpus": 0, "include_dashboard": False, "ray_client_server_port": client_port}
    with pytest.MonkeyPatch.context() as environment:
        # how long it waits for a driver that it has started, one that was killed, too
        environment.setenv("RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "15")
        cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def rows_of(output: Path) -> list[dict[str, Any]]:
    """In the order of the parts."""
    rows: list[dict[str, Any]] = pq.read_table(output).to_pylist()
    return rows


def parts_in(output: Path) -> list[Path]:
    return sorted(output.glob("part-*"))


def wait_for_parts(count: int, output: Path, process: subprocess.Popen[str]) -> None:
    """Until so many parts are written."""
    written = f"{count} parts in {output}"
    wait_for(lambda: len(parts_in(output)) >= count, written, unless=lambda: said_at_the_end(process), every=0.005)


def said_at_the_end(process: subprocess.Popen[str]) -> tuple[str, str] | None:
    """What a process printed, where it has ended."""
    return None if process.poll() is None else process.communicate()


def test_each_image_has_one_row_and_nothing_else_has_one(bulk: Bulk, complete: Path) -> None:
    images = [path for path in bulk.images.rglob("*") if path.suffix in (".png", ".jpg")]
    paths = [row["path"] for row in rows_of(complete)]
    assert len(paths) == len(set(paths)) == COUNT + LARGE + 3 + len(BAD)
    assert set(paths) == {str(path) for path in images}
    assert {path.name for path in complete.iterdir()} == {"_images.parquet", *(p.name for p in parts_in(complete))}


@pytest.mark.attack(14, "Ray's ports and tokens on one machine")
def test_ray_on_only_this_machine_is_open_to_nobody_else(
    bulk: Bulk, complete: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # a short path, for sockets
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("RAY_TMPDIR", folder)
        process = bulk.start(tmp_path / "found", "--actors", 2)
        try:
            wait_for_parts(1, tmp_path / "found", process)
            processes = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            sockets, words = open_sockets(processes), " ".join(map(command_of, processes))
            token = raylet(processes).environ()["RAY_AUTH_TOKEN"]
            [private] = Path(folder).iterdir()
            assert stat.S_IMODE(private.stat().st_mode) == 0o700
        finally:
            _, stderr = process.communicate(timeout=300)
        assert process.returncode == 1, stderr
        assert list(Path(folder).iterdir()) == []
    assert len(sockets) > 4  # of the command, of Ray's servers and of the actors
    assert {address for address in sockets if not ip_address(address.removeprefix("::ffff:")).is_loopback} == set()
    assert len(token) == 64
    assert token not in words
    assert list(home.rglob("auth_token")) == []
    assert rows_of(tmp_path / "found") == rows_of(complete)


def open_sockets(processes: list[psutil.Process]) -> list[str]:
    """The addresses that these processes take connections or packets at."""
    addresses = []
    for process in processes:
        with suppress(psutil.Error):  # it has ended
            for each in process.net_connections("inet"):
                if each.status == psutil.CONN_LISTEN or (each.type == socket.SOCK_DGRAM and not each.raddr):
                    addresses.append(each.laddr.ip)
    return addresses


def command_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def raylet(processes: list[psutil.Process]) -> psutil.Process:
    return next(process for process in processes if "/raylet/raylet" in command_of(process))


def test_the_rows_hold_what_the_predictor_finds(bulk: Bulk, complete: Path, predictor: Predictor) -> None:
    sha256 = hashlib.sha256(bulk.weights.read_bytes()).hexdigest()
    names = class_names(predictor.config.head.num_classes, None)
    compared = 0
    for row in rows_of(complete):
        assert row["weights_sha256"] == sha256
        if row["error"] is None and "large" not in row["path"]:
            image = read_image(Path(row["path"]))
            assert (row["height"], row["width"]) == image.shape[:2]
            [detections] = predictor([image], THRESHOLD)
            assert row["instances"] == coco_instances(detections, names)
            compared += len(detections)
    assert compared > 100


def test_an_image_that_can_not_be_read_has_an_error_in_its_row(complete: Path) -> None:
    errors = {
        Path(row["path"]).name: row["error"] for row in rows_of(complete) if row["error"] or row["instances"] is None
    }
    assert errors.keys() == {Path(name).name for name in BAD}
    assert "has no supported file format" in errors["text.jpg"]
    assert "has no supported file format" in errors["empty.png"]
    assert "the image is a JPEG without pixels: it is damaged, or cut off" in errors["cut.jpg"]
    assert "2002000 pixels (width 2000, height 1001), more than the 2000000 allowed" in errors["huge.png"]


def test_the_ap_of_the_rows_is_the_ap_over_http(
    server: Server, folder: Folder, complete: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over_http = folder.run(server.url)
    assert over_http.returncode == 0, over_http.stderr
    arguments = ["--found", str(complete), "--annotations", str(folder.path / "instances.json")]
    assert evaluate_bulk.main(arguments) == 0
    assert capsys.readouterr().out == over_http.stdout
    assert folder.in_process.masks is not None
    assert 0.2 < folder.in_process.masks.ap < 0.9


def test_a_complete_run_is_left_as_it_is(bulk: Bulk, complete: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = [path.stat().st_mtime_ns for path in parts_in(complete)]
    assert main(bulk.arguments(complete)) == 1
    said, *failed, more = capsys.readouterr().out.splitlines()
    assert said == f"{len(rows_of(complete))} images in {complete}, 4 of them with an error:"
    errors = {f"  {row['path']}: {row['error']}" for row in rows_of(complete) if row["error"]}
    assert len(failed) == 3
    assert set(failed) < errors
    assert more == "  and 1 more, in the column error"
    assert [path.stat().st_mtime_ns for path in parts_in(complete)] == before


@on_a_cluster
def test_a_run_whose_command_is_killed_goes_on_to_the_same_rows(
    bulk: Bulk, complete: Path, cluster: Cluster, tmp_path: Path
) -> None:
    process = bulk.start(tmp_path, "--address", cluster.address)
    wait_for_parts(3, tmp_path, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    written = parts_in(tmp_path)
    assert len(written) < len(parts_in(complete))
    written[0].write_bytes(written[0].read_bytes()[:99])  # as a machine does that loses its power
    flipped = bytearray(written[1].read_bytes())
    flipped[len(flipped) // 2] ^= 1  # as an old disk does
    written[1].write_bytes(flipped)
    (tmp_path / ".part-000040-cafe").write_bytes(b"PAR1")
    times = {path: path.stat().st_mtime_ns for path in written[2:]}
    bulk.run(tmp_path, "--address", cluster.address)
    assert rows_of(tmp_path) == rows_of(complete)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert not list(tmp_path.glob(".*"))


@on_a_cluster
def test_a_node_that_is_killed_costs_no_row(bulk: Bulk, complete: Path, cluster: Cluster, tmp_path: Path) -> None:
    node = cluster.list_all_nodes()[-1]
    children = psutil.Process(node.all_processes["raylet"][0].process.pid).children
    process = bulk.start(tmp_path, "--address", cluster.address)
    wait_for_parts(3, tmp_path, process)
    assert any("PartActor" in " ".join(child.cmdline()) for child in children())
    cluster.remove_node(node, allow_graceful=False)
    at_the_kill = len(parts_in(tmp_path))
    _, stderr = process.communicate(timeout=RUN_PATIENCE)
    assert process.returncode == 1, stderr
    assert at_the_kill < len(parts_in(complete))
    assert rows_of(tmp_path) == rows_of(complete)


@on_a_cluster
def test_a_cluster_is_used_from_outside_and_a_killed_command_goes_on_there(
    bulk: Bulk, complete: Path, cluster: Cluster, client_port: int, tmp_path: Path
) -> None:
    address = f"ray://{cluster.address.partition(':')[0]}:{client_port}"
    process = bulk.start(tmp_path, "--address", address)
    wait_for_parts(3, tmp_path, process)
    process.send_signal(signal.SIGKILL)  # the cluster holds its driver for some seconds more, in case it comes back
    process.communicate()
    assert len(parts_in(tmp_path)) < len(parts_in(complete))
    assert f"{len(rows_of(complete))} images in" in bulk.run(tmp_path, "--address", address)
    assert rows_of(tmp_path) == rows_of(complete)
    assert not list(tmp_path.glob(".*"))


@on_a_cluster
def test_a_run_that_was_finished_meanwhile_has_nothing_to_do(
    complete: Path, predictor: Predictor, cluster: Cluster, client_port: int
) -> None:
    """As one may be whose command was killed: it goes on in the cluster for a while."""
    parts = Parts(place_of(str(complete)))
    with ray_cluster(f"ray://{cluster.address.partition(':')[0]}:{client_port}"):
        done = write_parts(parts, Network(predictor.config, {}, "float32", {}), Pool(actors=1, cores=1, gpus=0))
    assert (done.images, done.outside_the_network) == (0, 0)


@on_a_cluster
def test_a_run_whose_folder_is_moved_away_says_that_it_is_gone(bulk: Bulk, cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "found"
    process = bulk.start(output, "--address", cluster.address)
    wait_for_parts(1, output, process)
    output.rename(tmp_path / "elsewhere")
    _, stderr = process.communicate(timeout=RUN_PATIENCE)
    assert process.returncode == 2
    assert re.search(f"can't write part [0-9]+ of {output}: .*No such file", stderr.splitlines()[-1])


@on_a_cluster
def test_a_driver_that_the_cluster_fails_to_start_is_started_again(
    bulk: Bulk, cluster: Cluster, client_port: int, tmp_path: Path
) -> None:
    def drivers() -> set[psutil.Process]:
        """Those that the cluster's head runs for clients."""
        return {process for process in psutil.process_iter() if _is_driver(process)}

    before = drivers()
    address = f"ray://{cluster.address.partition(':')[0]}:{client_port}"
    process = replace(bulk, images=bulk.images / "one").start(tmp_path, "--address", address)
    started = wait_for(lambda: drivers() - before, "a driver", unless=lambda: said_at_the_end(process), every=0)
    for driver in started:
        driver.kill()
    stdout, stderr = process.communicate(timeout=RUN_PATIENCE)
    assert stdout.startswith(f"1 images in {tmp_path}, 0 "), stderr


@on_a_cluster
@pytest.mark.skipif(torch.cuda.is_available(), reason="torch can use a GPU")
def test_a_gpu_that_torch_can_not_use_is_reported(bulk: Bulk, cluster: Cluster, tmp_path: Path) -> None:
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    try:
        process = bulk.start(tmp_path, "--address", cluster.address)
        _, stderr = process.communicate(timeout=RUN_PATIENCE)
    finally:
        cluster.remove_node(node)
    assert process.returncode == 2, stderr
    assert f"and torch {torch.__version__} can't use it; install a torch for it there" in stderr.splitlines()[-1]


def _is_driver(process: psutil.Process) -> bool:
    try:
        return "--mode=specific-server" in process.cmdline()
    except psutil.Error:  # it has ended
        return False


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--threshold", 0.3), "holds results with another --threshold: 0.05, not 0.3"),
        (("--precision", "bfloat16"), "holds results with another --precision"),
        (("--input", "/elsewhere"), "holds results with another --input"),
        (("--weights", "{other}"), "holds results with another --weights"),
        (("--weights", "absent.pkl"), "can't read the weights absent.pkl"),
        (("--config", "absent.yaml"), "absent.yaml"),
    ],
)
def test_a_run_with_other_settings_is_refused(
    bulk: Bulk,
    complete: Path,
    tmp_path: Path,
    changed: tuple[str, object],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = Path(shutil.copy(bulk.weights, tmp_path / "other.pkl"))
    with other.open("ab") as file:
        file.write(b" ")  # after the pickle's end: the same numbers in another file
    before = rows_of(complete)
    assert main(bulk.arguments(complete, changed[0], str(changed[1]).format(other=other))) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
    assert rows_of(complete) == before


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--threshold", "3", "argument -t/--threshold: '3' is not a number from 0 to 1"),
        ("--max-pixels", "0", "argument --max-pixels: '0' is not a whole number, 1 or more"),
    ],
)
def test_an_option_out_of_its_range_is_refused(
    bulk: Bulk, tmp_path: Path, option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(bulk.arguments(tmp_path, option, value))
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_run_needs_images_and_a_folder(bulk: Bulk, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, found = tmp_path / "images", tmp_path / "found"
    arguments = bulk.arguments(found, "--input", images)
    assert main(arguments) == 2
    assert f"there is no {images}; expected a folder" in capsys.readouterr().err.splitlines()[-1]
    images.mkdir()
    assert main(arguments) == 2
    assert f"there are no images in {images}" in capsys.readouterr().err.splitlines()[-1]
    assert not list(found.iterdir())
    (found / "mine.txt").write_text("")
    assert main(arguments) == 2
    assert "holds other files, such as mine.txt" in capsys.readouterr().err.splitlines()[-1]


@on_a_cluster
@pytest.mark.parametrize(
    ("address", "said"),
    [("nonsense", "can't start Ray at nonsense"), ("ray://127.0.0.1:1", "can't start Ray at ray://127.0.0.1:1")],
)
def test_a_cluster_that_can_not_be_used_is_reported(
    bulk: Bulk,
    tmp_path: Path,
    address: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray.util.client.worker, "INITIAL_TIMEOUT_SEC", 1)  # of three tries, each twice as long
    assert main(bulk.arguments(tmp_path, "--address", address)) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_an_image_that_is_gone_since_it_was_listed_gets_an_error(bulk: Bulk) -> None:
    with pytest.raises(OSError, match=r"absent\.jpg"):
        read_limited(LocalFileSystem(), str(bulk.images / "absent.jpg"), Limits())
