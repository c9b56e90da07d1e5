"""The command that measures accuracy, against a real server: the AP over HTTP is the network's own."""

import json
import signal
import subprocess
from pathlib import Path

import pytest
from PIL import Image
from tensormask_server import Predictor

from bench.evaluate import table
from reference.cases import Case
from tests.served.coco_folder import Folder, annotated_folder
from tests.served.conftest import Server
from tests.served.gate import gate
from tests.waiting import wait_for

COUNT = 8


@pytest.fixture(scope="module")
def folder(case: Case, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return annotated_folder(tmp_path_factory.mktemp("coco"), case, predictor, COUNT)


@pytest.fixture(scope="module")
def complete(server: Server, folder: Folder) -> Path:
    """The results of a run in one go, an image at a time."""
    path = folder.path / "complete.jsonl"
    done = folder.run(server.url, "--results", path, "--concurrency", 1)
    assert done.returncode == 0, done.stderr
    return path


def test_the_ap_over_http_is_the_ap_in_process(server: Server, folder: Folder) -> None:
    assert folder.in_process.masks is not None
    for part in (folder.in_process.boxes, folder.in_process.masks):
        assert 0.2 < part.ap < 0.9
    done = folder.run(server.url, "--concurrency", 3)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == table(folder.in_process).strip()


def test_a_killed_run_continues(server: Server, folder: Folder, complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    options = ("--results", path, "--concurrency", 1)
    with gate(server.url, 4) as url:
        process = subprocess.Popen(folder.command(url, *options), stderr=subprocess.DEVNULL)
        wait_for(lambda: path.exists() and path.read_bytes().count(b"\n") == 4, "four results", unless=process.poll)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with path.open("a") as file:  # what a kill in the middle of writing leaves
        file.write('{"image_id": 10')
    answered = path.read_text().splitlines()[:-1]
    assert len(answered) == 4 < COUNT
    done = folder.run(server.url, *options)
    assert done.returncode == 0, done.stderr
    lines = path.read_text().splitlines()
    assert lines[: len(answered)] == answered
    assert len(lines) == COUNT
    assert set(lines) == set(complete.read_text().splitlines())
    assert done.stdout.strip() == table(folder.in_process).strip()


def test_the_servers_errors_are_reported_and_counted(
    server: Server, folder: Folder, complete: Path, tmp_path: Path
) -> None:
    """An image of too many pixels gets the server's 400; the others are measured."""
    path = tmp_path / "results.jsonl"
    path.write_text("".join(complete.read_text().splitlines(keepends=True)[1:]))
    content = json.loads((folder.path / "instances.json").read_text())
    Image.new("RGB", (70000, 240)).save(folder.path / "images" / "large.png")
    image = {"id": 1, "file_name": "large.png", "height": 240, "width": 70000}
    (tmp_path / "instances.json").write_text(json.dumps({**content, "images": [*content["images"], image]}))
    annotations = ("--annotations", tmp_path / "instances.json")
    done = folder.run(server.url, "--results", path, *annotations)
    assert done.returncode == 1
    assert (
        "large.png: 400 the image has 16800000 pixels (width 70000, height 240), more than the 16777216 allowed"
        in done.stderr
    )
    assert f"1 of {COUNT + 1} images got no response" in done.stderr.splitlines()[-1]
    assert done.stdout.strip() == table(folder.in_process).strip()
    assert set(path.read_text().splitlines()) == set(complete.read_text().splitlines())


def test_torchserves_own_errors_are_reported(server: Server, folder: Folder) -> None:
    done = folder.run(server.url + "-of-another-name")
    assert done.returncode == 2
    assert "404 Model not found: tiny-of-another-name; expected http://HOST" in done.stderr.splitlines()[-1]
