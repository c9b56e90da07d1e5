"""What the predictor promises to a Python user: its detections, alone and in batches, with every option."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server import Detections, PredictionOptions, Predictor
from tensormask_server.network.strategies import Everywhere, OnlyWhereNeeded, Strategy
from tensormask_server.timing import Stopwatch
from torch import Tensor

from tests.unit.small_network import assert_alike, noise, small_network, small_predictor

ABOVE_ALL = 0.9999  # a threshold that no score of these weights passes


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return small_predictor()


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize("strategy", [OnlyWhereNeeded(), Everywhere()], ids=["only where needed", "everywhere"])
def test_an_image_has_the_same_detections_by_itself_or_in_a_batch(batch_size: int, strategy: Strategy) -> None:
    predictor = small_predictor()
    predictor.batch_size = batch_size
    predictor.network.strategy = strategy
    sizes = [(100, 140), (140, 100), (100, 140), (97, 131), (64, 64), (1, 1), (100, 139)]
    images = [noise(*size, seed=seed) for seed, size in enumerate(sizes)]
    together = predictor(images)
    assert [len(each) > 0 for each in together[:4]] == [True] * 4
    for image, detections in zip(images, together, strict=True):
        assert_alike(detections, predictor([image])[0])


def test_no_images_have_no_detections(predictor: Predictor) -> None:
    assert predictor([]) == []


def test_every_field_has_its_shape_and_type(predictor: Predictor) -> None:
    [detections] = predictor([noise(100, 140)])
    num = len(detections)
    assert num > 0
    assert (detections.boxes.shape, detections.boxes.dtype) == ((num, 4), np.float32)
    assert (detections.scores.shape, detections.scores.dtype) == ((num,), np.float32)
    assert (detections.classes.shape, detections.classes.dtype) == ((num,), np.int64)
    assert detections.masks is not None
    assert (detections.masks.shape, detections.masks.dtype) == ((num, 100, 140), np.bool_)


def test_no_detections_are_empty_fields_of_the_same_types(predictor: Predictor) -> None:
    [detections] = predictor([noise(50, 70)], ABOVE_ALL)
    assert len(detections) == 0
    assert (detections.boxes.shape, detections.boxes.dtype) == ((0, 4), np.float32)
    assert (detections.scores.shape, detections.scores.dtype) == ((0,), np.float32)
    assert (detections.classes.shape, detections.classes.dtype) == ((0,), np.int64)
    assert detections.masks is not None
    assert (detections.masks.shape, detections.masks.dtype) == ((0, 50, 70), np.bool_)


def test_without_masks_the_boxes_are_the_same_and_masks_is_none(predictor: Predictor) -> None:
    boxes_only = small_predictor({"MODEL.MASK_ON": False})
    [with_masks], [without] = predictor([noise(100, 140)]), boxes_only([noise(100, 140)])
    assert without.masks is None
    assert boxes_only([noise(10, 10)], ABOVE_ALL)[0].masks is None
    assert np.array_equal(without.classes, with_masks.classes)
    np.testing.assert_allclose(without.boxes, with_masks.boxes, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 500), (800, 8), (32, 32)])
@pytest.mark.parametrize("min_size", [0, 96])
def test_instances_are_detected_on_images_of_extreme_shapes(size: tuple[int, int], min_size: int) -> None:
    low = small_predictor({"INPUT.MIN_SIZE_TEST": min_size, "MODEL.TENSOR_MASK.SCORE_THRESH_TEST": 0.0001})
    [detections] = low([noise(*size)])
    assert len(detections) > 0
    assert detections.masks is not None
    assert detections.masks.shape == (len(detections), *size)


def test_scores_fall_and_boxes_lie_inside_the_image(predictor: Predictor) -> None:
    for height, width in [(100, 140), (233, 97)]:
        [detections] = predictor([noise(height, width)])
        assert (np.diff(detections.scores) <= 0).all()
        assert ((detections.scores > 0) & (detections.scores < 1)).all()
        assert ((detections.classes >= 0) & (detections.classes < 4)).all()
        x0, y0, x1, y1 = detections.boxes.T
        assert ((x0 >= 0) & (x0 < x1) & (x1 <= width)).all()
        assert ((y0 >= 0) & (y0 < y1) & (y1 <= height)).all()


def test_boxes_that_leave_the_image_are_dropped() -> None:
    """The weights move all boxes right by three anchors, and some of them out of the image."""
    network = small_network()
    with torch.no_grad():
        network.head.bbox_pred.bias[0::4] = 3 * network.config.detection.bbox_reg_weights[0]
    predictor = Predictor(network, torch.device("cpu"), torch.float32)
    kept_by_the_network: list[Tensor] = []
    network.register_forward_hook(lambda *call: kept_by_the_network.append(call[2][0].candidates.boxes))
    [detections] = predictor([noise(100, 140)])
    outside = int((kept_by_the_network[0][:, 0] >= 134).sum())  # of the resized image's width
    assert outside > 0
    assert len(detections) == len(kept_by_the_network[0]) - outside > 0
    assert (detections.boxes[:, 2] > detections.boxes[:, 0]).all()
    assert detections.masks is not None
    assert len(detections.masks) == len(detections)


# --- thresholds -------------------------------------------------------------------------------------------------------


def prefix(detections: Detections, threshold: float) -> Detections:
    num = int((detections.scores > threshold).sum())
    masks = None if detections.masks is None else detections.masks[:num]
    return Detections.of_masks(detections.boxes[:num], detections.scores[:num], detections.classes[:num], masks)


def test_a_higher_threshold_leaves_the_best_and_changes_nothing_else(predictor: Predictor) -> None:
    [every] = predictor([noise(100, 140)], 0.05)
    thresholds = [float(every.scores[i]) for i in (0, len(every) // 2)] + [0.3, 0.6]
    for threshold in thresholds:
        [detections] = predictor([noise(100, 140)], threshold)
        assert_alike(detections, prefix(every, threshold))


def test_each_image_may_have_its_own_options(predictor: Predictor) -> None:
    images = [noise(100, 140, seed=seed) for seed in range(3)]
    options = [PredictionOptions(score_threshold=threshold) for threshold in (None, 0.5, ABOVE_ALL)]
    together = predictor(images, options)
    for image, each, detections in zip(images, options, together, strict=True):
        assert_alike(detections, predictor([image], each)[0])
    assert len(together[0]) > len(together[1]) > len(together[2]) == 0


@pytest.mark.parametrize("threshold", [0, 1, np.float32(0.5), np.float64(0.5)])
def test_a_threshold_may_be_any_number(predictor: Predictor, threshold: float) -> None:
    images = [noise(64, 64)] * 2
    options = [PredictionOptions(score_threshold=float(threshold))] * 2
    for detections, expected in zip(predictor(images, threshold), predictor(images, options), strict=True):
        assert_alike(detections, expected)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_sequence_of_options_has_one_for_each_image(predictor: Predictor, count: int) -> None:
    with pytest.raises(ValueError, match=rf"options has {count} entries; expected 2, one per image"):
        predictor([noise(32, 32)] * 2, [PredictionOptions()] * count)


# --- other options ----------------------------------------------------------------------------------------------------


def test_some_classes_have_the_detections_that_they_have_among_all(predictor: Predictor) -> None:
    [every] = predictor([noise(100, 140)], PredictionOptions(max_detections=1000))
    classes = tuple(sorted(set(every.classes.tolist()))[1::2])
    assert classes
    [detections] = predictor([noise(100, 140)], PredictionOptions(max_detections=1000, classes=classes))
    chosen = np.isin(every.classes, classes)
    assert every.masks is not None
    expected = Detections.of_masks(
        every.boxes[chosen], every.scores[chosen], every.classes[chosen], every.masks[chosen]
    )
    assert_alike(detections, expected)
    assert 0 < len(detections) < len(every)


def test_no_class_is_no_detection(predictor: Predictor) -> None:
    [detections] = predictor([noise(100, 140)], PredictionOptions(classes=()))
    assert len(detections) == 0


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_detections_are_the_best(predictor: Predictor, count: int) -> None:
    [every] = predictor([noise(100, 140)])
    [detections] = predictor([noise(100, 140)], PredictionOptions(max_detections=count))
    assert_alike(detections, prefix(every, float(every.scores[count])))
    assert len(detections) == count


def test_a_higher_nms_threshold_leaves_more_boxes(predictor: Predictor) -> None:
    counts = []
    for threshold in (0.0, 0.5, 1.0):
        options = PredictionOptions(nms_threshold=threshold, max_detections=1000, score_threshold=0.05)
        counts.append(len(predictor([noise(100, 140)], options)[0]))
    assert counts[0] < counts[1] < counts[2]


def test_a_lower_mask_threshold_gives_larger_masks_of_the_same_instances(predictor: Predictor) -> None:
    smaller, larger = (
        predictor([noise(100, 140)], PredictionOptions(mask_threshold=threshold))[0] for threshold in (0.6, 0.4)
    )
    np.testing.assert_array_equal(smaller.boxes, larger.boxes)
    assert smaller.masks is not None
    assert larger.masks is not None
    assert (larger.masks >= smaller.masks).all()
    assert larger.masks.sum() > smaller.masks.sum() > 0


@pytest.mark.parametrize("less", ["max_detections", "score_threshold", "classes"])
def test_no_mask_is_computed_that_was_not_requested(less: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = small_predictor()
    image = noise(100, 140)
    cells: list[int] = []
    mask_logits = predictor.network.head.mask_logits

    def counted(features: Tensor, level: int, size_index: int, y: Tensor, *others: Any) -> Tensor:
        cells.append(len(y))
        return mask_logits(features, level, size_index, y, *others)

    monkeypatch.setattr(predictor.network.head, "mask_logits", counted)
    all_of_them = PredictionOptions(max_detections=1000, score_threshold=0.3)
    [everything] = predictor([image], all_of_them)
    every = sum(cells)
    cells.clear()
    middle = len(everything) // 2
    values: dict[str, Any] = {
        "max_detections": middle,
        "score_threshold": float(everything.scores[middle]),
        "classes": (int(everything.classes[0]),),
    }
    [fewer] = predictor([image], replace(all_of_them, **{less: values[less]}))
    assert sum(cells) == len(fewer)
    assert 0 < len(fewer) < len(everything) == every


def test_the_stopwatch_measures_each_part(predictor: Predictor) -> None:
    stopwatch = Stopwatch()
    predictor([noise(100, 140), noise(40, 40)], stopwatch=stopwatch)
    assert set(stopwatch.seconds) == {"resize", "network", "masks"}
    assert all(seconds > 0 for seconds in stopwatch.seconds.values())
