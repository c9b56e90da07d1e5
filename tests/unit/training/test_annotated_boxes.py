"""The bbox of an annotation is the box that a training learns; without a usable one it is the box of the mask."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle

from tests.unit.training.small_training import SIZE, write_config, write_data, write_scored_data
from training.annotated_boxes import LEAST_SIDE, BoxError, checked_box, is_far_from
from training.annotations import DataError
from training.batch import Batch
from training.coco_folder import CocoFolder
from training.data import Batches
from training.network import network_to_train
from training.resized_boxes import resized_boxes
from training.settings import TrainingConfig, load_training_config
from training.summary import data_table
from training.targets import assign, smallest_side

HEIGHT, WIDTH = 20, 30
SMALL = [[30, 30, 40, 30, 40, 40, 30, 40]]  # a square of 10 pixels
SIDES = st.integers(1, 40)
BOXES = st.tuples(st.integers(0, 40), st.integers(0, 40), SIDES, SIDES)


def _annotated(data: Path, *bboxes: Any, **others: Any) -> CocoFolder:
    """The data set whose three annotations have these bboxes by turns."""
    path = data / "instances.json"
    content = json.loads(path.read_text())
    for i, annotation in enumerate(content["annotations"]):
        annotation |= {"bbox": bboxes[i % len(bboxes)], **others}
    path.write_text(json.dumps(content))
    return CocoFolder(data)


def _config(folder: Path, **images: Any) -> TrainingConfig:
    config = load_training_config(write_config(folder / "config.yaml"))
    return dataclasses.replace(config, images=dataclasses.replace(config.images, **images))


def _batch(config: TrainingConfig, data: CocoFolder, iteration: int = 0) -> Batch:
    batches = Batches(data, config.images, config.network.input, stride=32, images_per_batch=2, seed=3)
    return batches[iteration].to(torch.device("cpu"))


@pytest.mark.parametrize(
    ("bbox", "box"),
    [
        ([2, 3, 10, 5], (2, 3, 12, 8)),
        ([2.25, 3.5, 10.5, 5], (2.25, 3.5, 12.75, 8.5)),
        ([0, 0, WIDTH, HEIGHT], (0, 0, WIDTH, HEIGHT)),
        ([-2, -1.5, 10, 5], (0, 0, 8, 3.5)),
        ([25, 15, 10, 10], (25, 15, WIDTH, HEIGHT)),
        ([-WIDTH, -HEIGHT, 3 * WIDTH, 3 * HEIGHT], (0, 0, WIDTH, HEIGHT)),
    ],
)
def test_a_bbox_is_clipped_to_the_image(bbox: list[float], box: tuple[float, ...]) -> None:
    assert checked_box(bbox, HEIGHT, WIDTH) == box


UNUSABLE = [
    None,
    [],
    [2, 3, 0, 5],
    [2, 3, 10, 0],
    [12, 3, -10, 5],
    [2, 3, LEAST_SIDE / 2, 5],
    [WIDTH, 3, 10, 5],
    [-10, 3, 10, 5],
    [2, -6, 10, 5],
]


@pytest.mark.parametrize("bbox", UNUSABLE)
def test_without_a_usable_bbox_there_is_none(bbox: list[float] | None) -> None:
    assert checked_box(bbox, HEIGHT, WIDTH) is None


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf"), 1e300, 10**400, -(10**400), 95])
@pytest.mark.parametrize("place", range(4))
def test_numbers_that_are_none_of_the_image_are_named(place: int, number: float) -> None:
    bbox: list[float] = [2.5, 3.5, 10.5, 5]
    bbox[place] = number
    with pytest.raises(BoxError, match=r"its bbox is \[.*on an image of 30×20 \(width × height\); expected \[x, y"):
        checked_box(bbox, HEIGHT, WIDTH)


@pytest.mark.parametrize(
    "bbox", [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, "4"], [1, 2, 3, None], [True, 2, 3, 4], [[1, 2, 3, 4]], "box", {}, 3]
)
def test_what_is_no_bbox_is_named(bbox: Any) -> None:
    with pytest.raises(BoxError, match=r"its bbox is .*; expected \[x, y, width, height\] in pixels"):
        checked_box(bbox, HEIGHT, WIDTH)


def test_the_message_names_the_file_and_the_annotation(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        _annotated(write_data(tmp_path / "data"), [float("nan"), 2, 3, 4])
    assert str(error.value).startswith(
        f"{tmp_path}/data/instances.json: annotation 1 (image 0.png): its bbox is [nan, 2, 3, 4], on an image of 96×96"
    )
    assert str(error.value).endswith("; 2 other annotations have such a fault")


@given(one=BOXES, other=BOXES)
def test_far_is_an_iou_below_a_half(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    x0, y0, w0, h0 = one
    x1, y1, w1, h1 = other
    expected = rle.iou(np.array([one], float), np.array([other], float), [0])[0, 0] < 0.5
    assert is_far_from((x0, y0, x0 + w0, y0 + h0), (x1, y1, x1 + w1, y1 + h1)) == expected


def test_boxes_are_scaled_and_flipped_with_the_image(tmp_path: Path) -> None:
    data = _annotated(write_data(tmp_path / "data"), [10.3, 20.2, 40.5, 44.1], [50, 30, 20.5, 33])
    config = _config(tmp_path, min_sizes=(64, 160), flip=True)
    expected = np.array([[10.3, 20.2, 50.8, 64.3], [50, 30, 70.5, 63]])
    seen = set()
    for iteration in range(12):
        batch = _batch(config, data, iteration)
        [image] = [each for each in batch.instances if len(each.boxes) == 2]
        side = batch.images.shape[-1]
        scaled = expected * (side / SIZE)
        flipped = np.stack((side - scaled[:, 2], scaled[:, 1], side - scaled[:, 0], scaled[:, 3]), axis=1)
        is_flipped = bool(image.masks[1].nonzero()[:, 1].float().mean() < side / 2)  # the square, which is on the right
        np.testing.assert_allclose(image.boxes.numpy(), flipped if is_flipped else scaled, rtol=1e-6)
        resizing = dataclasses.replace(config.network.input, min_size=side)
        np.testing.assert_allclose(resized_boxes(data.boxes(), resizing)[0][:2], scaled, rtol=1e-12)
        seen.add((side, is_flipped))
    assert seen == {(side, flip) for side in (64, 160) for flip in (False, True)}


@pytest.mark.parametrize("bbox", [None, [], [2, 3, 0, 5], [SIZE, 3, 10, 5]])
def test_without_a_usable_bbox_the_box_is_that_of_the_mask(tmp_path: Path, bbox: list[float] | None) -> None:
    config = _config(tmp_path, min_sizes=(128,))
    expected = _batch(config, CocoFolder(write_data(tmp_path / "without")))
    data = _annotated(write_data(tmp_path / "data"), bbox)
    for each, other in zip(_batch(config, data).instances, expected.instances, strict=True):
        assert torch.equal(each.boxes, other.boxes)
    assert data.far_boxes() == []
    assert not data.boxes().annotated.any()


def test_the_boxes_of_masks_as_bboxes_change_nothing(tmp_path: Path) -> None:
    """But for rounding, where the image is resized."""
    with_boxes, without = CocoFolder(write_scored_data(tmp_path / "with")), CocoFolder(write_data(tmp_path / "without"))
    assert with_boxes.boxes().annotated.all()
    assert with_boxes.far_boxes() == with_boxes.coinciding() == []
    for size, tolerance in ((SIZE, 0), (2 * SIZE, 1)):
        config = _config(tmp_path, min_sizes=(size,))
        batches = _batch(config, with_boxes), _batch(config, without)
        for each, other in zip(*(batch.instances for batch in batches), strict=True):
            assert (each.boxes - other.boxes).abs().max() <= tolerance


def test_an_instance_whose_mask_has_no_pixel_left_is_left_out(tmp_path: Path) -> None:
    data = _annotated(write_data(tmp_path / "data"), [10, 10, 60, 60], segmentation=[[48, 48, 49, 48, 49, 49, 48, 49]])
    for size, number in ((SIZE, 3), (16, 0)):
        batch = _batch(_config(tmp_path, min_sizes=(size,)), data)
        assert sum(len(each.boxes) for each in batch.instances) == number


def test_instances_of_one_segmentation_and_two_bboxes_are_learnt(tmp_path: Path) -> None:
    bboxes = [10, 20, 40, 44], [50, 20, 40, 44]
    data = _annotated(write_data(tmp_path / "with"), *bboxes, segmentation=SMALL)
    assert data.coinciding() == []
    assert _learnt(tmp_path, data) == [{0}, {0, 1}]
    without = _annotated(write_data(tmp_path / "without"), None, segmentation=SMALL)
    assert len(without.coinciding()) == 2
    assert _learnt(tmp_path, without) == [set(), {0}]


def test_instances_of_one_bbox_and_two_segmentations_coincide(tmp_path: Path) -> None:
    data = _annotated(write_data(tmp_path / "data"), [10, 20, 40, 44])
    assert data.coinciding() == ["annotation 1 (image 0.png)", "annotation 2 (image 0.png)"]
    assert _learnt(tmp_path, data) == [set(), {0}]


def _learnt(folder: Path, data: CocoFolder) -> list[set[int]]:
    """The instances of both images that a window learns, the images with fewer of them first."""
    config = _config(folder)
    batch = _batch(config, data)
    network = network_to_train(config)
    anchors = [network.get_buffer(f"cell_anchors_{level}") for level in range(len(network.strides))]
    learnt: list[set[int]] = [set(), set()]
    before = [0, len(batch.instances[0].classes)]
    for stride, of_level in zip(network.strides, anchors, strict=True):
        cells = SIZE // stride + 1
        positives, _ = assign(batch.instances, of_level, stride, smallest_side(anchors[0]), cells, cells)
        for image, instance in zip(positives.images.tolist(), positives.instances.tolist(), strict=True):
            learnt[image].add(instance - before[image])
    return sorted(learnt, key=len)


@pytest.mark.parametrize("bbox", [[30, 30, 40, 40], [70, 70, 20, 20], [30, 30, 10, 4]])
def test_bboxes_far_from_the_segmentations_are_counted_and_used(tmp_path: Path, bbox: list[int]) -> None:
    """The first is written as x0 y0 x1 y1."""
    data = _annotated(write_data(tmp_path / "data"), None, bbox, bbox, segmentation=SMALL)
    assert data.boxes().annotated.tolist() == [False, True, True]
    assert _far(tmp_path, data) == [
        "instances whose bbox is far from the box of their segmentation (IoU below 0.5): 2, the first is annotation 2 "
        "(image 0.png). The training learns the bbox, as [x, y, width, height] and not [x0, y0, x1, y1]"
    ]


@pytest.mark.parametrize("bbox", [[30, 30, 10, 10], [29, 28, 13, 13], [30, 30, 10, 6]])
def test_bboxes_near_the_segmentations_are_not_mentioned(tmp_path: Path, bbox: list[int]) -> None:
    assert _far(tmp_path, _annotated(write_data(tmp_path / "data"), bbox, segmentation=SMALL)) == []


def _far(folder: Path, data: CocoFolder) -> list[str]:
    config = _config(folder)
    return [line for line in data_table(data, config.images, config.network.input).splitlines() if "bbox" in line]
