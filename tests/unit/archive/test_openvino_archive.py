"""Archives for the engine openvino: what is in them, and that they are served as they say."""

import hashlib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tensormask_server import Predictor, load_predictor
from tensormask_server.archive.__main__ import main
from tensormask_server.prediction.engine import load_engine
from tensormask_server.verify import compare

from reference.cases import load_case, write_weights
from tests.unit.small_network import noise

CASE = load_case("tiny")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")]
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(CASE, tmp_path_factory.mktemp("weights") / "tiny.pkl")


def archived(output: Path, weights: Path, *arguments: object) -> int:
    words = ["--output", output, "--config", CASE.config, "--weights", weights, "--engine", "openvino", *arguments]
    return main([str(word) for word in words])


def unpacked(archive: Path, folder: Path) -> tuple[Predictor, dict[str, object]]:
    """The engine of an archive, and the options in it."""
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    options = yaml.safe_load((folder / "model-config.yaml").read_text())["handler"]
    files = folder / "config.yaml", folder / "weights.safetensors"
    engine = load_engine(options["engine"], *files, torch.device("cpu"), options["precision"])
    assert isinstance(engine, Predictor)
    return engine, options


def test_float32_is_the_references(tmp_path: Path, weights: Path) -> None:
    assert archived(tmp_path, weights) == 0
    engine, options = unpacked(tmp_path / "tensormask.mar", tmp_path / "unpacked")
    assert (options["engine"], options["device"], options["precision"]) == ("openvino", "cpu", "float32")
    assert not (tmp_path / "unpacked" / "tensormask_server" / "export").exists()
    [found] = engine([CASE.image])
    own = engine.config.detection
    assert compare(found, CASE.expected, own.score_threshold, own.max_detections).is_same


@needs_nncf
def test_int8_names_the_images_of_its_calibration_and_finds_most(
    tmp_path: Path, weights: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(noise(100, 120, seed)).save(folder / f"{seed}.png")
    Image.fromarray(CASE.image).save(folder / "a case.png")
    (folder / "notes.txt").write_text("not an image")
    assert archived(tmp_path, weights, "--precision", "int8", "--calibrate", folder) == 0
    said = capfd.readouterr().out.splitlines()
    assert said[0].startswith(str(tmp_path / "tensormask.mar"))
    assert any("graph.xml" in line and "4 images" in line for line in said)
    engine, options = unpacked(tmp_path / "tensormask.mar", tmp_path / "unpacked")
    assert options["precision"] == "int8"
    lines = (tmp_path / "unpacked" / "calibration.sha256").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == ["0.png", "1.png", "2.png", "a case.png"]
    assert lines[0].split()[0] == hashlib.sha256((folder / "0.png").read_bytes()).hexdigest()
    assert b'type="FakeQuantize"' in (tmp_path / "unpacked" / "graph.xml").read_bytes()
    exact = load_predictor(CASE.config, weights)([CASE.image], 0.3)[0]
    [found] = engine([CASE.image], 0.3)
    pairs = compare(found, exact, 0.3, 100).pairs
    assert len(pairs) >= 0.5 * len(exact)  # of synthetic weights, whose scores lie close together
    assert np.mean([pair.mask_iou for pair in pairs]) > 0.9


@needs_nncf
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "has no images; expected 100 to 300 for the calibration"),
        ({"a.jpg": b"no image"}, "an image of the calibration can't be read: "),
        (None, "is no folder; expected one of images for the calibration"),
    ],
)
def test_a_calibration_that_cant_be_used_is_one_line_and_no_archive(
    tmp_path: Path, weights: Path, content: dict[str, bytes] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    assert archived(tmp_path / "store", weights, "--precision", "int8", "--calibrate", folder) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("archive.sh: ")]
    assert said in line
    assert not (tmp_path / "store").exists()
