"""The exported graphs: other programs get the network's numbers at any size, and the files say what they hold."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from tensormask_server.export.__main__ import main
from tensormask_server.export.calibration import MOST_IMAGES, CalibrationError, calibration_images
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.network.before_selection import Convolutions, map_names
from tensormask_server.network.config import load_config
from tensormask_server.network.loading import build_network

from reference.cases import load_case, write_weights

pytestmark = pytest.mark.slow

CASE = load_case("tiny")
SHAPES = ((1, 3, 128, 128), (2, 3, 256, 128), (1, 3, 128, 640))
needs_export = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("openvino", "nncf", "onnx", "onnxscript", "onnxruntime")),
    reason="the packages of the extra export, or onnxruntime, aren't installed",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(CASE, tmp_path_factory.mktemp("weights") / "tiny.pkl")


def exported(weights: Path, output: Path, graph_format: str, *more: object) -> int:
    words = ["--config", CASE.config, "--weights", weights, "--format", graph_format, "--output", output, *more]
    return main([str(word) for word in words])


def images_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def expected_of(weights: Path, images: np.ndarray) -> list[np.ndarray]:
    network = build_network(load_config(CASE.config), load_checkpoint(weights)).eval()
    with torch.inference_mode():
        return [each.numpy() for each in Convolutions(network)(torch.from_numpy(images))]


@needs_export
def test_onnx_runtime_gets_our_numbers_at_every_size(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    import onnxruntime

    path = tmp_path / "graphs" / "tiny.onnx"
    assert exported(weights, path, "onnx") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"{path}, in float32"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = map_names(load_config(CASE.config).head)
    assert [each.name for each in session.get_inputs()] == ["images"]
    assert [each.name for each in session.get_outputs()] == list(names)
    for shape in SHAPES:
        images = images_of(shape)
        found = session.run(None, {"images": images})
        for own, each in zip(expected_of(weights, images), found, strict=True):
            np.testing.assert_allclose(each, own, rtol=1e-3, atol=1e-3)
    graph = onnx.load(path).graph
    assert graph.input[0].doc_string.startswith("float32 (images, 3, H, W), channels BGR, ")
    assert [each.dim_param for each in graph.input[0].type.tensor_type.shape.dim] == ["images", "", "H", "W"]
    for value in (*graph.input, *graph.output):
        assert f"  {value.name}: {value.doc_string}" in said
    stride = 2 ** int(names[0][-1])
    assert graph.output[0].doc_string.startswith(f"float32 (images, channels, H/{stride}, W/{stride}), rounded up")


@needs_export
def test_openvino_reads_the_exported_file(tmp_path: Path, weights: Path) -> None:
    from tensormask_server.openvino_package import openvino

    assert exported(weights, tmp_path / "tiny.xml", "openvino") == 0
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino().Core().compile_model(tmp_path / "tiny.xml", "CPU", settings)
    for shape in SHAPES:
        images = images_of(shape)
        found = compiled({"images": images})
        names = map_names(load_config(CASE.config).head)
        for name, own in zip(names, expected_of(weights, images), strict=True):
            np.testing.assert_allclose(found[name], own, rtol=1e-3, atol=1e-3)


@needs_export
@pytest.mark.parametrize(
    ("output", "graph_format", "more", "said"),
    [
        ("a.xml", "onnx", [], "expected a name that ends in .onnx"),
        ("a.onnx", "onnx", ["--calibrate", "."], "--calibrate is for --format openvino only"),
    ],
)
def test_options_that_dont_fit_are_named(
    weights: Path, output: str, graph_format: str, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        exported(weights, Path(output), graph_format, *more)
    assert said in capsys.readouterr().err


@needs_export
def test_a_folder_that_cant_be_written_is_one_line(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert exported(weights, tmp_path / "file" / "a.onnx", "onnx") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("export: can't write ")


@needs_export
@pytest.mark.parametrize("suffix", [".bin", ".xml"])
def test_a_folder_in_the_place_of_either_file_of_openvino_is_one_line(
    tmp_path: Path, weights: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = (tmp_path / "tiny").with_suffix(suffix)
    taken.mkdir()
    assert exported(weights, tmp_path / "tiny.xml", "openvino") == 2
    assert capsys.readouterr().err == f"export: can't write {taken}: Is a directory\n"
    assert not (tmp_path / "tiny.xml").is_file()
    assert not list(tmp_path.glob(".graph.*"))


def test_a_calibration_takes_at_most_so_many_images_from_all_over_the_folder(tmp_path: Path) -> None:
    for number in range(2 * MOST_IMAGES):
        (tmp_path / f"{number:04}.jpg").touch()
    (tmp_path / "notes.txt").touch()
    names = [path.name for path in calibration_images(tmp_path)]
    assert len(names) == len(set(names)) == MOST_IMAGES
    assert (names[0], names[-1]) == ("0000.jpg", f"{2 * MOST_IMAGES - 1:04}.jpg")
    with pytest.raises(CalibrationError, match="is no folder; expected one of images"):
        calibration_images(tmp_path / "absent")
