"""Our numbers are the reference's: detectron2's TensorMask, which ran before this project was written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tensormask_server import Detections, Predictor, load_predictor
from tensormask_server.network.config import load_config
from tensormask_server.network.strategies import Everywhere
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.prediction.agreement import pair_detections

from reference.cases import CASES, FOLDER, Case, load_case, write_weights
from tests.unit.small_network import as_on_a_gpu

CaseAndDetections = tuple[Case, Detections]


@pytest.fixture(scope="module", params=[(name, path) for name in CASES for path in ("as on a CPU", "as on a GPU")])
def case_and_detections(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CaseAndDetections:
    """A case and what we find on its image."""
    name, path = request.param
    case = load_case(name)
    weights = write_weights(case, tmp_path_factory.mktemp(name) / "weights.pkl")
    predictor = load_predictor(case.config, weights)
    [detections] = (as_on_a_gpu(predictor) if path == "as on a GPU" else predictor)([case.image])
    return case, detections


def test_the_references_detections_are_found_and_no_others(case_and_detections: CaseAndDetections) -> None:
    case, detections = case_and_detections
    same = [pair for pair in pair_detections(detections, case.expected) if pair.is_same]
    assert len(same) >= 0.98 * len(case.expected)
    assert len(same) >= 0.98 * len(detections)


def test_masks_are_the_references(case_and_detections: CaseAndDetections) -> None:
    case, detections = case_and_detections
    assert (detections.masks is None) == (case.expected.masks is None)
    ious = [pair.mask_iou for pair in pair_detections(detections, case.expected) if pair.mask_iou is not None]
    assert detections.masks is None or len(ious) > 0
    assert min(ious, default=1) >= 0.998


@pytest.mark.parametrize("name", CASES)
def test_entries_have_the_references_names_and_shapes(name: str) -> None:
    case = load_case(name)
    entries = TensorMask(load_config(case.config)).state_dict()
    assert {entry: tuple(tensor.shape) for entry, tensor in entries.items()} == case.shapes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    case = load_case("tiny")
    return load_predictor(case.config, write_weights(case, tmp_path_factory.mktemp("tiny") / "weights.pkl"))


def test_the_numbers_on_the_way_are_the_references(tiny: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Feature maps, class logits and box deltas, of every level and everywhere."""
    expected = np.load(FOLDER / "tiny" / "intermediate.npz")
    calculated: dict[str, np.ndarray] = {}

    def record(owner: object, method: str, label: str, names: tuple[str, ...]) -> None:
        original = getattr(owner, method)

        def recording(*args: object) -> list[torch.Tensor]:
            values: list[torch.Tensor] = original(*args)
            calculated.update({f"{label}_{name}": each.numpy() for name, each in zip(names, values, strict=True)})
            return values

        monkeypatch.setattr(owner, method, recording)

    levels = tuple("012345")
    record(tiny.network, "features", "feature", tiny.config.head.in_features)
    record(tiny.network.head, "class_logits", "logits", levels)
    record(tiny.network.head, "box_deltas", "deltas", levels)
    monkeypatch.setattr(tiny.network, "strategy", Everywhere())
    tiny([load_case("tiny").image])
    assert set(calculated) == set(expected.files)
    for name in expected.files:
        np.testing.assert_allclose(calculated[name], expected[name], rtol=1e-4, atol=1e-4, err_msg=name)


def test_published_weights_have_their_place(tmp_path: Path) -> None:
    """The published configurations are the r50 case at another size: 36.5 million numbers to learn."""
    config = tmp_path / "published.yaml"
    config.write_text(f"_BASE_: {load_case('r50').config}\nINPUT: {{MIN_SIZE_TEST: 800, MAX_SIZE_TEST: 1333}}\n")
    network = TensorMask(load_config(config))
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 36.5
    entries = network.state_dict()
    assert entries["head.mask_pred_11.weight"].shape == (121, 128, 1, 1)
    assert entries["head.mask_pred_15.weight"].shape == (225, 128, 1, 1)
    assert entries["backbone.top_block.p6.weight"].shape == (256, 2048, 3, 3)
