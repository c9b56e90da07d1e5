"""Batches: what is read, scaled, flipped and padded, and in which order."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.training.small_training import DISC, SIZE, SQUARE, classes_and_masks, write_config, write_data
from training.annotations import DataError
from training.coco_folder import CocoFolder
from training.data import Batches
from training.settings import load_training_config

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> CocoFolder:
    return CocoFolder(write_data(tmp_path / "data"))


def _batches(
    tmp_path: Path, data: CocoFolder, count: int = 2, sizes: tuple[int, ...] = (SIZE,), **options: object
) -> Batches:
    config = load_training_config(write_config(tmp_path / "config.yaml"))
    images = dataclasses.replace(config.images, min_sizes=sizes, **options)
    return Batches(data, images, config.network.input, stride=32, images_per_batch=count, seed=3)


def test_polygons_and_run_lengths_agree_with_the_pixels(data: CocoFolder) -> None:
    assert data.category_ids == [DISC, SQUARE]
    classes, masks = classes_and_masks(data, 0)
    assert classes == [0, 1]
    image = data.image(0)
    for mask, colour in zip(masks, ((200, 40, 40), (40, 60, 220)), strict=True):
        np.testing.assert_array_equal(mask > 0, (image == colour).all(axis=-1))


def test_crowds_are_left_out(data: CocoFolder) -> None:
    path = data.folder / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    path.write_text(json.dumps(content))
    assert classes_and_masks(CocoFolder(data.folder), 0)[0] == [1]


@pytest.mark.parametrize("segmentation", [[], [[]], [[0, 0, 1, 1]], None])
def test_annotations_that_outline_nothing_are_left_out(data: CocoFolder, segmentation: object) -> None:
    _annotate(data, segmentation)
    assert classes_and_masks(CocoFolder(data.folder), 0)[0] == [1]


def test_polygons_of_two_points_are_left_out(data: CocoFolder) -> None:
    _annotate(data, [[0, 0, 1, 1], [2, 2, 20, 2, 20, 20, 2, 20]])
    _, masks = classes_and_masks(CocoFolder(data.folder), 0)
    assert masks[0].sum() == 18 * 18


def test_a_mask_of_another_size_than_its_image_is_named(data: CocoFolder) -> None:
    _annotate(data, {"size": [SIZE, SIZE + 1], "counts": [SIZE * (SIZE + 1)]})
    said = rf"annotation 1 \(image 0.png\): its RLE is of the size \[{SIZE}, {SIZE + 1}\], on an image of \[{SIZE}"
    with pytest.raises(DataError, match=said):
        CocoFolder(data.folder)


@pytest.mark.parametrize("segmentation", ["a disc", [[0, 0, 1, 1, "2", 2]], [3, 4, 5], {"size": [9, 9]}])
def test_what_is_no_segmentation_is_named(data: CocoFolder, segmentation: object) -> None:
    _annotate(data, segmentation)
    with pytest.raises(DataError, match=r"annotation 1 \(image 0.png\): its segmentation .*; expected a list of poly"):
        CocoFolder(data.folder)


def test_an_image_of_another_size_than_its_annotations_is_named(data: CocoFolder) -> None:
    path = data.folder / "images" / data.entries[0]["file_name"]
    turned = Image.open(path).crop((0, 0, SIZE, SIZE // 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned.save(path, exif=exif)
    with pytest.raises(DataError, match=f"has {SIZE}×{SIZE // 2} pixels .* the annotation file says {SIZE}×{SIZE}"):
        data.image(0)


def _annotate(data: CocoFolder, segmentation: object) -> None:
    """Gives the first annotation another segmentation."""
    path = data.folder / "instances.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = segmentation
    path.write_text(json.dumps(content))


def test_each_epoch_shows_every_image_once(tmp_path: Path, data: CocoFolder) -> None:
    batches = _batches(tmp_path, data, count=1)
    for epoch in range(4):
        counts = sorted(batches[2 * epoch + i].counts[0] for i in range(2))
        assert counts == [1, 2]


def test_a_batch_depends_on_its_iteration_alone(tmp_path: Path, data: CocoFolder) -> None:
    first, second = (_batches(tmp_path, data, sizes=(64, 96, 128), flip=True) for _ in range(2))
    for iteration in (5, 0, 3):
        assert torch.equal(first[iteration].pixels, second[iteration].pixels)


def test_boxes_go_round_the_masks_after_scaling_and_flipping(tmp_path: Path, data: CocoFolder) -> None:
    batches = _batches(tmp_path, data, sizes=(64, 160), flip=True)
    for iteration in range(6):
        batch = batches[iteration].to(CPU)
        assert batch.images.shape[-1] in (64, 160)
        for each in batch.instances:
            for box, mask in zip(each.boxes.long().tolist(), each.masks, strict=True):
                rows, columns = mask.nonzero(as_tuple=True)
                assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_smaller_images_are_padded_right_and_below(tmp_path: Path, data: CocoFolder) -> None:
    path = data.folder / "images" / "1.png"
    Image.open(path).crop((0, 0, SIZE, SIZE // 2)).resize((2 * SIZE, SIZE)).save(path)
    content = json.loads((data.folder / "instances.json").read_text())
    content["images"][1] |= {"width": 2 * SIZE, "height": SIZE}
    (data.folder / "instances.json").write_text(json.dumps(content))
    batch = _batches(tmp_path, CocoFolder(data.folder))[0].to(CPU)
    assert batch.images.shape == (2, 3, SIZE, 2 * SIZE)
    smaller = [len(each.classes) for each in batch.instances].index(2)
    assert not batch.images[smaller, :, :, SIZE:].any()
    assert batch.instances[smaller].masks.shape == (2, SIZE, 2 * SIZE)
