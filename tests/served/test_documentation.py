"""Every command and snippet of README.md and docs/ is run, in a copy of the project, and its results are checked."""

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from playwright._impl._driver import compute_driver_executable
from pycocotools.coco import COCO
from tensormask_server.extras import missing_extra

from reference.cases import Case
from tests.certificates import HAS_OPENSSL
from tests.pages import PAGES, ROOT, blocks
from tests.served.conftest import Server
from tests.served.gateways import RunningGateway, gateway_of
from tests.served.reader import Reader
from tests.waiting import PATIENCE

HAS_EXPORT = not missing_extra("export") and find_spec("onnxruntime") is not None
HAS_RAY = find_spec("ray") is not None  # of the extra bulk
NODE = str(compute_driver_executable()[0])  # that comes with Playwright
NODE_STARTS = subprocess.run([NODE, "--version"], capture_output=True).returncode == 0
LONG = {"BULK", "DEPLOYMENT", "GATEWAY", "INTEGRATIONS", "MODELS", "OPENVINO", "OPERATIONS", "TRAINING"}  # 15 s or more
WITH_COMMANDS = [
    pytest.param(page, id=page.stem, marks=[pytest.mark.extensive] if page.stem in LONG else [])
    for page in PAGES
    if any(block.language in ("sh", "python") and not block.reason for block in blocks(page))
]


@pytest.mark.parametrize("page", WITH_COMMANDS)
def test_every_command_of_a_page_works(page: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem == "DEPLOYMENT" and not HAS_OPENSSL:
        pytest.skip("there is no openssl to make a certificate with")
    if page.stem == "OPENVINO" and not HAS_EXPORT:
        pytest.skip("there is no OpenVINO, nncf, onnx or ONNX Runtime: they come with the extras export and dev")
    if page.stem == "BULK" and not HAS_RAY:
        pytest.skip("there is no Ray: it comes with the extra bulk")
    monkeypatch.chdir(reader.folder)
    reader.follow(page)
    CHECKS[page.stem](reader)


@pytest.mark.skipif(not NODE_STARTS, reason="Node.js, as Playwright brings it, doesn't start here: it wants libatomic1")
def test_the_javascript_works(server: Server, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gateway_of(server, tmp_path) as gateway:
        _check_javascript(server, gateway, case, tmp_path, monkeypatch)


def _check_javascript(
    server: Server, gateway: RunningGateway, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(case.image).save(tmp_path / "image.jpg")
    monkeypatch.chdir(tmp_path)
    snippets = [block.text for page in PAGES for block in blocks(page) if block.language == "js"]
    assert snippets
    for snippet in snippets:
        own = f":{server.ports[0]}/{server.name}/predict"
        text = snippet.replace(":8080/tensormask/predict", own)
        assert "score" in _run_javascript(text.replace(":8000/", f":{gateway.port}/"))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, case: Case, weights: Path) -> Path:
    """A copy with an image, a folder of images, a network, its archive, COCO's val2017 and training data of its own."""
    folder = tmp_path_factory.mktemp("reader") / "project"
    left_out = shutil.ignore_patterns(".git", ".venv", "model_store", "logs", "tests", "output", "build", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=left_out)
    (folder / ".venv").symlink_to(sys.prefix)
    Image.fromarray(case.image).save(folder / "image.jpg")
    Image.fromarray(case.image[..., 0].astype(np.uint16) << 4).save(folder / "cells.png")
    (folder / "images").mkdir()
    shutil.copy(folder / "image.jpg", folder / "images")
    shutil.copy(case.config, folder / "config.yaml")
    shutil.copy(weights, folder / "weights.pkl")
    _write_coco(folder, folder / "image.jpg")
    _write_training_data(folder / "my-data", folder / "image.jpg")
    archive = ["./archive.sh", "--config", "config.yaml", "--weights", "weights.pkl"]
    subprocess.run(archive, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    shutil.copy(folder / "model_store/tensormask.mar", folder / "model_store/demo.mar")  # in the place of `make demo`'s
    return folder


@pytest.fixture
def reader(tmp_path: Path, project: Path) -> Iterator[Reader]:
    """In a copy of `project` of its own."""
    folder = tmp_path / "project"
    shutil.copytree(project, folder, symlinks=True)
    person = Reader(folder)
    yield person
    person.close()


def _write_coco(folder: Path, image: Path) -> None:
    """COCO's val2017 with one image, on which there is nothing to find."""
    (folder / "val2017").mkdir()
    shutil.copy(image, folder / "val2017")
    entry = {"id": 1, "file_name": image.name, "height": 150, "width": 200}
    content = {"images": [entry], "annotations": [], "categories": [{"id": number} for number in range(1, 81)]}
    (folder / "annotations").mkdir()
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


def _write_training_data(folder: Path, image: Path) -> None:
    """Two classes, and an instance of each on one image."""
    (folder / "images").mkdir(parents=True)
    shutil.copy(image, folder / "images")
    squares = [[20, 30, 100, 30, 100, 110, 20, 110], [110, 40, 170, 40, 170, 100, 110, 100]]
    annotations = [
        {"id": number, "image_id": 1, "category_id": number, "segmentation": [square], "iscrowd": 0}
        for number, square in enumerate(squares, start=1)
    ]
    content = {
        "images": [{"id": 1, "file_name": image.name, "height": 150, "width": 200}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}],
    }
    (folder / "instances.json").write_text(json.dumps(content))


def _run_javascript(snippet: str) -> str:
    script = (
        f'import {{ readFileSync }} from "node:fs";\nconst image = readFileSync("image.jpg");\n{snippet}\n'
        "console.log(JSON.stringify(instances));"
    )
    command = [NODE, "--input-type=module", "--eval", script]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _check_readme(reader: Reader) -> None:
    assert _size(reader.folder / "demo/output/composed.png") == (512, 512)
    assert _size(reader.folder / "found.png") == (200, 150)
    assert any('"instances"' in text for command, text in reader.printed.items() if command.startswith("curl"))
    assert reader.values["instances"].masks.shape[1:] == (150, 200)
    assert len(reader.values["detections"].masks) > 0
    assert reader.values["detections"].masks.shape[1:] == (512, 512)


def _check_requests(reader: Reader) -> None:
    for name in ("drawn.png", "found.png", "labels.png"):
        assert _size(reader.folder / name) == (200, 150)
    assert "(stretch=percentile)" in (reader.folder / "headers.txt").read_text()
    assert len(json.loads((reader.folder / "several.json").read_text())["predictions"]) == 2
    tensors = reader.values["tensors"]
    assert len(tensors["scores"]) > 0
    assert tensors["pred_masks"].shape == (len(tensors["scores"]), 150, 200)
    annotations = COCO(str(reader.folder / "annotations.json"))
    assert len(annotations.anns) == len(annotations.loadRes(reader.values["content"]["instances"]).anns) > 0
    polygons = json.loads((reader.folder / "polygons.json").read_text())
    assert (polygons["imagePath"], polygons["imageData"]) == ("image.jpg", None)
    assert polygons["shapes"]
    assert reader.values["summary"]["count"].sum() == len(reader.values["table"]) > 0
    with zipfile.ZipFile(reader.folder / "cutouts.zip") as archive:
        assert archive.namelist()[0].startswith("001_class-")
    assert reader.values["labels"].shape == reader.values["mask"].shape == (150, 200)


def _check_clients(reader: Reader) -> None:
    instances, detections = reader.values["instances"], reader.values["detections"]
    assert len(instances) > 0
    assert [len(detections), *detections.area] == [len(instances), *instances.masks.sum(axis=(1, 2))]
    assert detections[0].data["class_name"] == [instances.names[0]]
    assert (reader.folder / "responses" / "image.jpg.png").exists()
    assert json.loads((reader.folder / "images" / "image.json").read_text())["imagePath"] == "image.jpg"
    annotations = COCO(str(reader.folder / "instances.json"))
    assert [image["file_name"] for image in annotations.loadImgs([1])] == ["image.jpg"]
    assert len(annotations.anns) > 0
    assert reader.values["result"].masks.shape[1:] == (150, 200)


def _check_integrations(reader: Reader) -> None:
    with av.open(str(reader.folder / "video.masks.mp4")) as video:
        assert sum(1 for _ in video.decode(video=0)) == 36
    [tracks] = [text for command, text in reader.printed.items() if "video_tracks.py" in command]
    assert "px a second" in tracks or "no instance in video.masks.csv has an id" in tracks  # the network is a small one
    assert _size(reader.folder / "supervision.png") == (200, 150)
    assert json.loads((reader.folder / "images" / "image.json").read_text())["imagePath"] == "image.jpg"


def _check_operations(reader: Reader) -> None:
    printed = [text for command, text in reader.printed.items() if "8081/models" in command]
    assert '"status": "READY"' in printed[0]
    [line] = [text for command, text in reader.printed.items() if command.startswith("tail")]
    assert json.loads(line)["id"] == "order-4711"
    [metrics] = [text for command, text in reader.printed.items() if "metrics" in command]
    assert "ts_" in metrics or "# HELP" in metrics


def _check_deployment(reader: Reader) -> None:
    [response] = [text for command, text in reader.printed.items() if "https://" in command]
    assert '"instances"' in response
    key = json.loads(reader.keys.read_text())["inference"]["key"]
    assert key != reader.environment["KEY"]  # the last command has renewed it


def _check_bulk(reader: Reader) -> None:
    assert (reader.values["row"]["height"], reader.values["row"]["width"]) == (150, 200)


def _check_accuracy(reader: Reader) -> None:
    [scores] = [text for command, text in reader.printed.items() if "evaluate.py" in command]
    assert [line.split()[0] for line in scores.splitlines()] == ["AP", "box", "mask"]


def _check_models(reader: Reader) -> None:
    [models] = [text for command, text in reader.printed.items() if "--list-models" in command]
    assert "tensormask_R_50_FPN_6x  41.4    35.8" in models
    served = [text for command, text in reader.printed.items() if "--model" in command or "MODEL=" in command]
    assert sum("\nREADY " in text for text in served) == 2
    assert reader.values["predictor"].config.head.num_classes == 20


def _check_training(reader: Reader) -> None:
    [served] = [text for command, text in reader.printed.items() if "tensormask-server" in command]
    assert "\nREADY " in served


def _check_options(reader: Reader) -> None:
    for name in ("demo", "tensormask"):
        assert json.loads((reader.folder / f"{name}.json").read_text())["model"] == name


def _check_openapi(reader: Reader) -> None:
    assert (reader.folder / "openapi.yaml").read_text() == (ROOT / "docs/openapi.yaml").read_text()


def _check_gateway(reader: Reader) -> None:
    assert _size(reader.folder / "gateway.png") == (200, 150)
    assert any('"instances"' in text for command, text in reader.printed.items() if "coco" in command)
    assert reader.values["masks"].shape[1:] == (150, 200)
    assert reader.values["masks"].dtype == torch.bool


def _check_openvino(reader: Reader) -> None:
    [served] = [text for command, text in reader.printed.items() if "tensormask-server" in command]
    assert "\nREADY " in served
    [compared] = [text for command, text in reader.printed.items() if "verify" in command]
    assert "B: model_store/fast.mar, engine openvino, float32" in compared
    assert compared.splitlines()[-1].startswith("the same: ")
    [detected] = [text for command, text in reader.printed.items() if "onnx_detections" in command]
    assert int(detected.split()[0]) == len(detected.splitlines()) - 1 > 0


def _check_scaling(reader: Reader) -> None:
    [tables] = reader.printed.values()
    assert "cost of a million" in tables


CHECKS: dict[str, Callable[[Reader], None]] = {
    "README": _check_readme,
    "REQUESTS": _check_requests,
    "CLIENTS": _check_clients,
    "INTEGRATIONS": _check_integrations,
    "OPERATIONS": _check_operations,
    "DEPLOYMENT": _check_deployment,
    "BULK": _check_bulk,
    "ACCURACY": _check_accuracy,
    "TRAINING": _check_training,
    "SCALING": _check_scaling,
    "OPTIONS": _check_options,
    "GATEWAY": _check_gateway,
    "OPENAPI": _check_openapi,
    "OPENVINO": _check_openvino,
    "MODELS": _check_models,
}
