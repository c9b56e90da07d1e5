"""The command that measures accuracy, against a real server: the AP over HTTP is the network's own."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from parity.cases import Case
from PIL import Image
from tensormask_server import Predictor

from bench.evaluate import table
from bench.scores import Scores, coco_results, evaluate
from served.conftest import ROOT, Server
from training.data import category_ids

CATEGORIES = [88, 2, 90, 11, 40]  # of the small network's five classes: with gaps, and not in order
THRESHOLD = 0.05
ANNOTATED = 0.15  # things with higher scores are what there is to find
COUNT = 8


@dataclass(frozen=True)
class Folder:
    """Pictures, and annotations that the network finds some of."""

    path: Path
    in_process: Scores  # of the same network

    def command(self, url: str, *options: object) -> list[str]:
        words = [sys.executable, ROOT / "bench" / "evaluate.py", "--url", url, "--threshold", THRESHOLD]
        words += ["--annotations", self.path / "instances.json", "--images", self.path / "images", *options]
        return [str(word) for word in words]

    def run(self, url: str, *options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(url, *options), capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def folder(case: Case, predictor: Predictor, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Annotated are the network's own detections, a third of them moved and a third of another category."""
    path = tmp_path_factory.mktemp("coco")
    (path / "images").mkdir()
    content: dict = {"categories": [{"id": number, "name": str(number)} for number in CATEGORIES]}
    content |= {"images": [], "annotations": []}
    results = []
    for i in range(COUNT):
        picture = np.ascontiguousarray(case.picture[: 150 - 9 * i, : 200 - 7 * i])
        height, width = picture.shape[:2]
        Image.fromarray(picture).save(path / "images" / f"{i}.png")
        content["images"].append({"id": 100 + i, "file_name": f"{i}.png", "height": height, "width": width})
        [detections] = predictor([picture], THRESHOLD)
        found = coco_results(100 + i, detections, category_ids(content))
        results += found
        for k, thing in enumerate(each for each in found if each["score"] > ANNOTATED):
            x, y, w, h = thing["bbox"]
            annotation = {**thing, "id": len(content["annotations"]) + 1, "area": w * h}
            if k % 3 == 1:
                annotation["bbox"] = [x + w / 5, y, w, h]
            if k % 3 == 2:
                annotation["category_id"] = CATEGORIES[k % 5]
            content["annotations"].append(annotation)
    (path / "instances.json").write_text(json.dumps(content))
    return Folder(path, evaluate(content, results))


@pytest.fixture(scope="module")
def complete(server: Server, folder: Folder) -> Path:
    """The results of a run in one go, a picture at a time."""
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


def test_a_run_that_was_killed_goes_on(server: Server, folder: Folder, complete: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    options = ("--results", path, "--concurrency", 1)
    process = subprocess.Popen(folder.command(server.url, *options), stderr=subprocess.DEVNULL)
    while not path.exists() or path.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with path.open("a") as file:  # what a kill in the middle of writing leaves
        file.write('{"image_id": 10')
    answered = path.read_text().splitlines()[:-1]
    assert 3 <= len(answered) < COUNT
    done = folder.run(server.url, *options)
    assert done.returncode == 0, done.stderr
    lines = path.read_text().splitlines()
    assert lines[: len(answered)] == answered
    assert len(lines) == COUNT
    assert set(lines) == set(complete.read_text().splitlines())
    assert done.stdout.strip() == table(folder.in_process).strip()


def test_the_servers_errors_are_told_and_counted(
    server: Server, folder: Folder, complete: Path, tmp_path: Path
) -> None:
    """A picture of too many pixels gets the server's 400; the others are measured."""
    path = tmp_path / "results.jsonl"
    path.write_text("".join(complete.read_text().splitlines(keepends=True)[1:]))
    content = json.loads((folder.path / "instances.json").read_text())
    Image.new("RGB", (70000, 60)).save(tmp_path / "large.png")
    image = {"id": 1, "file_name": str(tmp_path / "large.png"), "height": 60, "width": 70000}
    (tmp_path / "instances.json").write_text(json.dumps({**content, "images": [*content["images"], image]}))
    annotations = ("--annotations", tmp_path / "instances.json")
    done = folder.run(server.url, "--results", path, *annotations)
    assert done.returncode == 1
    assert "large.png: 400 the picture has 60×70000 = 4200000 pixels, more than the 4194304 allowed" in done.stderr
    assert f"1 of {COUNT + 1} pictures had no answer" in done.stderr.splitlines()[-1]
    assert done.stdout.strip() == table(folder.in_process).strip()
    assert set(path.read_text().splitlines()) == set(complete.read_text().splitlines())


def test_torchserves_own_errors_are_told(server: Server, folder: Folder) -> None:
    done = folder.run(server.url + "-of-another-name")
    assert done.returncode == 2
    assert "404 Model not found: tiny-of-another-name; expected http://HOST" in done.stderr.splitlines()[-1]
