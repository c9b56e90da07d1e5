"""The engine detectron2: how its output becomes `Detections`, its errors, and detectron2 itself if it is installed."""

from collections.abc import Iterator
from dataclasses import field, make_dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tensormask_server import Detections, PredictionOptions, Predictor, load_predictor
from tensormask_server.model_files.checkpoint import CheckpointError, load_checkpoint
from tensormask_server.prediction.detections import UnsupportedOption
from tensormask_server.prediction.detectron2_engine import Instances, check_options, load_detectron2, select_detections
from tensormask_server.prediction.detectron2_network import EngineError, check_detectron2, check_device, check_loaded
from tensormask_server.verify import compare

from reference.cases import Case, load_case, write_weights
from tests.unit.small_network import small_config, small_network


def instances(detections: Detections) -> Instances:
    """A result as detectron2 gives it, but in another order."""
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(detections)))
    boxes, scores, classes = (
        torch.from_numpy(each)[order] for each in (detections.boxes, detections.scores, detections.classes)
    )
    return Instances(
        boxes, scores, classes, None if detections.masks is None else torch.from_numpy(detections.masks)[order]
    )


@pytest.fixture(scope="module", params=["tiny", "tiny-boxes-only"])
def case_and_predictor(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Case, Predictor]:
    case = load_case(request.param)
    return case, load_predictor(case.config, write_weights(case, tmp_path_factory.mktemp("weights") / "weights.pkl"))


@pytest.mark.parametrize(
    "options",
    [
        PredictionOptions(),
        PredictionOptions(score_threshold=0.2),
        # of scores above those that DETECTIONS_PER_IMAGE cut off
        PredictionOptions(score_threshold=0.06, classes=(0, 4)),
        PredictionOptions(classes=()),
        PredictionOptions(score_threshold=0.1, classes=(1, 2, 3)),
        PredictionOptions(score_threshold=1.0),
    ],
)
def test_options_select_from_the_references_result_what_our_network_detects_with_them(
    case_and_predictor: tuple[Case, Predictor], options: PredictionOptions
) -> None:
    case, predictor = case_and_predictor
    check_options(options, predictor.config, 0.0)
    selected = select_detections(instances(case.expected), predictor.config, options, *case.image.shape[:2])
    [ours] = predictor([case.image], options)
    assert len(selected) == len(ours)
    assert (np.diff(selected.scores) <= 0).all()
    assert (selected.masks is None) == (ours.masks is None)
    assert selected.masks is None or selected.masks.shape == ours.masks.shape
    assert compare(ours, selected, 0.0, 100).is_same


@pytest.mark.parametrize("most", [0, 1, 4, 100])
def test_the_best_are_selected_if_fewer_are_requested(most: int) -> None:
    case = load_case("tiny")
    options = PredictionOptions(score_threshold=0.1, max_detections=most, classes=(0, 4))
    selected = select_detections(instances(case.expected), small_config(), options, *case.image.shape[:2])
    wanted = (case.expected.scores > 0.1) & np.isin(case.expected.classes, (0, 4))
    assert 4 < np.count_nonzero(wanted) < len(case.expected)
    assert selected.scores.tolist() == case.expected.scores[wanted][:most].tolist()
    assert selected.masks is not None
    assert case.expected.masks is not None
    np.testing.assert_array_equal(selected.masks, case.expected.masks[wanted][:most])


def test_no_detections_have_empty_masks_of_the_images_size() -> None:
    """detectron2's TensorMask then returns no pred_masks."""
    nothing = Instances(torch.empty(0, 4), torch.empty(0), torch.empty(0, dtype=torch.int64), None)
    selected = select_detections(nothing, small_config(), PredictionOptions(), 20, 30)
    assert selected.masks is not None
    assert (len(selected), selected.masks.shape, selected.boxes.shape) == (0, (0, 20, 30), (0, 4))


def test_boxes_without_masks_are_an_error_of_a_network_that_makes_masks() -> None:
    selected = Instances(torch.ones(1, 4), torch.ones(1), torch.zeros(1, dtype=torch.int64), None)
    with pytest.raises(RuntimeError, match=r"without pred_masks, though MODEL.MASK_ON is True"):
        select_detections(selected, small_config(), PredictionOptions(), 20, 30)
    assert len(select_detections(selected, small_config({"MODEL.MASK_ON": False}), PredictionOptions(), 20, 30)) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            PredictionOptions(nms_threshold=0.4),
            "nms_threshold: 0.5, the configuration's NMS_THRESH_TEST; or leave the option out",
        ),
        (PredictionOptions(mask_threshold=0.6), "mask_threshold: 0.5; or leave the option out"),
        (
            PredictionOptions(max_detections=31),
            "max_detections: at most 30, the configuration's DETECTIONS_PER_IMAGE; or leave the option out",
        ),
        (PredictionOptions(score_threshold=0.01), "score_threshold: 0.02 or more; or leave the option out"),
    ],
)
def test_a_value_that_detectron2s_network_was_not_built_with_is_an_error(
    options: PredictionOptions, expected: str
) -> None:
    with pytest.raises(UnsupportedOption) as caught:
        check_options(options, small_config(), 0.02)
    assert caught.value.expected.startswith(expected)
    assert caught.value.expected in str(caught.value)


def test_the_values_that_the_network_was_built_with_are_accepted() -> None:
    options = PredictionOptions(score_threshold=0.02, nms_threshold=0.5, max_detections=30, mask_threshold=0.5)
    check_options(options, small_config(), 0.02)


def test_aligned_masks_without_a_gpu_are_an_error() -> None:
    with pytest.raises(EngineError, match=r"the device is cpu, and .* aligned masks .* only on CUDA"):
        check_device(small_config(), torch.device("cpu"))
    check_device(small_config(), torch.device("cuda:0"))
    check_device(small_config({"MODEL.MASK_ON": False}), torch.device("cpu"))


def test_a_network_that_holds_the_weights_and_the_configurations_values_is_accepted() -> None:
    weights = small_network().state_dict()
    check_loaded({**weights, "pixel_mean": torch.zeros(3), "anchor_generator.cell_anchors.0": torch.zeros(2)}, weights)


def test_an_entry_that_is_missing_or_left_over_or_differs_is_named() -> None:
    weights = small_network().state_dict()
    name = "head.cls_score.bias"
    less = {other: tensor for other, tensor in weights.items() if other != name}
    with pytest.raises(
        CheckpointError, match=f"the weights have an entry {name}, which detectron2's network doesn't have"
    ):
        check_loaded(less, weights)
    with pytest.raises(CheckpointError, match=f"an entry {name}, which the weights don't have"):
        check_loaded(weights, less)
    with pytest.raises(CheckpointError, match=f"the values of {name} in detectron2's network differ"):
        check_loaded({**weights, name: weights[name] + 1e-6}, weights)


@pytest.mark.skipif(find_spec("detectron2") is not None, reason="detectron2 is installed, so there is no error")
def test_without_detectron2_the_error_says_how_to_install_it() -> None:
    with pytest.raises(EngineError) as caught:
        check_detectron2()
    message = str(caught.value)
    assert "No module named 'detectron2'" in message
    assert "pip install --no-build-isolation 'git+https://github.com/facebookresearch/detectron2.git'" in message
    assert "pip install --no-build-isolation -e detectron2/projects/TensorMask" in message
    assert "The engine native needs none of this" in message


# --- with detectron2 --------------------------------------------------------------------------------------------------


@pytest.fixture(params=[".pkl", ".safetensors"])
def weights_of_tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    pytest.importorskip("detectron2", reason="detectron2 is not installed: its engine isn't run")
    pytest.importorskip("tensormask", reason="detectron2's TensorMask project is not installed: its engine isn't run")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU, which detectron2's aligned masks need: its engine isn't run")
    path = write_weights(load_case("tiny"), tmp_path / "tiny.pkl")
    if request.param == ".safetensors":
        save_file(load_checkpoint(path), path.with_suffix(".safetensors"))
    yield path.with_suffix(request.param)


def test_the_engine_gives_detectron2s_result(weights_of_tiny: Path) -> None:
    case = load_case("tiny")
    engine = load_detectron2(case.config, weights_of_tiny, "cuda:0")
    own = engine.config.detection
    [selected] = engine([case.image])
    assert compare(selected, case.expected, own.score_threshold, own.max_detections).is_same
    [best, dogs] = engine([case.image] * 2, [PredictionOptions(max_detections=2), PredictionOptions(classes=(4,))])
    assert len(best) == 2
    assert set(dogs.classes.tolist()) == {4}


def test_an_option_that_only_our_network_knows_is_refused_and_not_ignored() -> None:
    later = make_dataclass("Later", [("min_area", int, field(default=0))], bases=(PredictionOptions,), frozen=True)
    check_options(later(), small_config(), 0.0)
    with pytest.raises(UnsupportedOption, match="min_area is 9, which the engine detectron2 doesn't support"):
        check_options(later(min_area=9), small_config(), 0.0)
