"""The engine openvino: the native engine's detections, with all options, and errors that say what to do."""

import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.openvino_package import OpenVinoError
from tensormask_server.prediction.agreement import pair_detections
from tensormask_server.prediction.engine import load_engine
from tensormask_server.prediction.finite import NotFiniteError, finite_layers

from tests.unit.small_network import SMALL, assert_alike, noise, small_network, small_predictor

CPU = torch.device("cpu")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration, weights and the graph, as in an unpacked archive."""
    from tensormask_server.export.openvino_graph import openvino_model, save_openvino

    folder = tmp_path_factory.mktemp("openvino")
    network = small_network()
    (folder / "config.yaml").write_text(yaml.safe_dump(SMALL))
    save_file(network.state_dict(), folder / "weights.safetensors")
    save_openvino(openvino_model(network), folder / "graph.xml", half=False)
    return folder


def engine_of(folder: Path, precision: str = "float32") -> Predictor:
    engine = load_engine("openvino", folder / "config.yaml", folder / "weights.safetensors", CPU, precision)
    assert isinstance(engine, Predictor)
    return engine


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (40, 300), (96, 96), (33, 70)])
@pytest.mark.parametrize(
    "options",
    [
        PredictionOptions(score_threshold=0.05),
        PredictionOptions(score_threshold=0.3, nms_threshold=0.9, max_detections=3, mask_threshold=0.2),
        PredictionOptions(score_threshold=0.0, classes=(0, 2)),
    ],
)
def test_float32_gives_the_native_engines_detections(
    folder: Path, shape: tuple[int, int], options: PredictionOptions
) -> None:
    image = noise(*shape)
    [expected] = small_predictor()([image], options)
    [found] = engine_of(folder)([image], options)
    assert len(expected) > 0
    assert_alike(found, expected)


def test_tiles_and_several_images_are_the_native_engines(folder: Path) -> None:
    images = [noise(200, 300), noise(96, 128, seed=1)]
    options = PredictionOptions(score_threshold=0.3, tile_size=128)
    for found, expected in zip(engine_of(folder)(images, options), small_predictor()(images, options), strict=True):
        assert_alike(found, expected)


def test_bfloat16_finds_nearly_the_same(folder: Path) -> None:
    options = PredictionOptions(score_threshold=0.3)
    [expected] = small_predictor()([noise(96, 128)], options)
    [found] = engine_of(folder, "bfloat16")([noise(96, 128)], options)
    pairs = pair_detections(found, expected)
    assert len(pairs) >= 0.8 * len(expected)
    assert np.mean([pair.mask_iou for pair in pairs if pair.mask_iou is not None]) > 0.9


def test_the_first_image_isnt_changed_by_the_second(folder: Path) -> None:
    """OpenVINO's outputs are overwritten, and must have been read by then."""
    engine = engine_of(folder)
    first, second = noise(96, 128), noise(96, 128, seed=1)
    [alone] = engine([first])
    together, _ = engine([first, second])
    assert_alike(together, alone)


def test_numbers_of_the_graph_that_arent_finite_are_found(folder: Path, tmp_path: Path) -> None:
    from tensormask_server.export.openvino_graph import openvino_model, save_openvino

    for name in ("config.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    network = small_network()
    torch.nn.init.constant_(network.head.get_parameter("cls_score.bias"), torch.nan)
    save_openvino(openvino_model(network), tmp_path / "graph.xml", half=False)
    for path, expected in ((folder, nullcontext()), (tmp_path, pytest.raises(NotFiniteError, match="the layer graph"))):
        engine = engine_of(path)
        with expected, finite_layers(engine.network):
            engine([noise(96, 128)])


def test_a_gpu_is_refused(folder: Path) -> None:
    with pytest.raises(OpenVinoError, match="the device is cuda:0; expected cpu with the engine openvino"):
        load_engine(
            "openvino", folder / "config.yaml", folder / "weights.safetensors", torch.device("cuda:0"), "float32"
        )


@pytest.mark.parametrize("content", [None, "", "<net/>", "no XML"])
def test_a_graph_that_cant_be_read_is_one_line(folder: Path, tmp_path: Path, content: str | None) -> None:
    for name in ("config.yaml", "weights.safetensors", "graph.bin"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    if content is not None:
        (tmp_path / "graph.xml").write_text(content)
    with pytest.raises(OpenVinoError, match=r"OpenVINO can't use the graph graph.xml: .*archive.sh makes it again"):
        engine_of(tmp_path)


def test_a_graph_of_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    from tensormask_server.export.openvino_graph import openvino_model, save_openvino

    for name in ("config.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    save_openvino(openvino_model(small_network({"MODEL.MASK_ON": False})), tmp_path / "graph.xml", half=False)
    with pytest.raises(OpenVinoError, match=r"the graph graph\.xml has 12 outputs"):
        engine_of(tmp_path)


WITHOUT_REPORTS = """
import sys
from tensormask_server.openvino_package import openvino
openvino()
reporting = [name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name] is not None]
assert not reporting, reporting
import nncf
reporting = [name for name in sys.modules if name.startswith("openvino_telemetry") and sys.modules[name] is not None]
assert not reporting, reporting
"""


@pytest.mark.skipif(find_spec("nncf") is None, reason="nncf is not installed")
def test_nothing_is_reported_to_the_makers_of_openvino(tmp_path: Path) -> None:
    """Its package sends an event at each import, and writes a file into the home folder, unless it is kept from it."""
    environment = {"HOME": str(tmp_path), "PATH": ""}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_REPORTS], capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    assert not [path for path in tmp_path.rglob("*") if "telemetry" in path.name or "intel" in path.name.lower()]


def test_without_openvino_the_error_says_what_brings_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(OpenVinoError, match=r"pip install 'tensormask-segmentation-server\[openvino\]' brings it"):
        engine_of(folder)
