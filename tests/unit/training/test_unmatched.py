"""Instances that no window can learn are counted before the first step."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tensormask_server.network.tensormask import TensorMask

from tests.unit.training.small_training import CONFIG, SIZE, classes_and_masks, write_config, write_data
from training.coco_folder import CocoFolder
from training.network import network_to_train
from training.resized_boxes import InstanceBoxes
from training.settings import ImageConfig, TrainingConfig, load_training_config
from training.trainer import Run, train
from training.unmatched import warning_of_unmatched

# for sides of 41 to 63 pixels: too large for a window of 40, and less than half of 160 - 32
WITH_GAPS = [[8, 12], [16, 24], [32, 40], [160, 170], [260, 270], [400, 410]]
HEIGHT, WIDTH = 150, 200
Box = tuple[float, float, float, float]


def _config(folder: Path, sizes: list[list[int]], **images: object) -> TrainingConfig:
    path = write_config(folder / "config.yaml", MAX_ITER=1)
    tree = yaml.safe_load(path.read_text())
    tree["MODEL"]["ANCHOR_GENERATOR"]["SIZES"] = sizes
    tree["INPUT"] |= images
    path.write_text(yaml.safe_dump(tree))
    return load_training_config(path)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> TensorMask:
    return network_to_train(_config(tmp_path_factory.mktemp("network"), WITH_GAPS))


def _warning(
    network: TensorMask, boxes: list[Box], shape: tuple[int, int], options: ImageConfig, annotated: bool = False
) -> str | None:
    instances = InstanceBoxes(
        np.array(boxes, np.float64).reshape(-1, 4),
        np.tile(np.array(shape), (len(boxes), 1)),
        np.full(len(boxes), annotated),
    )
    return warning_of_unmatched(network, instances, options, network.config.input)


@st.composite
def _boxes(draw: st.DrawFn, steps: int = 1) -> Box:
    """A box with edges at so many places in each pixel."""
    x0, y0 = draw(st.integers(0, steps * WIDTH - 1)), draw(st.integers(0, steps * HEIGHT - 1))
    x1, y1 = draw(st.integers(x0 + 1, steps * WIDTH)), draw(st.integers(y0 + 1, steps * HEIGHT))
    return x0 / steps, y0 / steps, x1 / steps, y1 / steps


@given(boxes=st.lists(_boxes(), max_size=6), flip=st.booleans())
def test_the_number_is_what_trying_all_windows_gives(network: TensorMask, boxes: list[Box], flip: bool) -> None:
    _check_number(network, boxes, flip, annotated=False)


@given(boxes=st.lists(_boxes(steps=4), max_size=6), flip=st.booleans())
def test_edges_of_a_bbox_are_not_rounded(network: TensorMask, boxes: list[Box], flip: bool) -> None:
    _check_number(network, boxes, flip, annotated=True)


def _check_number(network: TensorMask, boxes: list[Box], flip: bool, annotated: bool) -> None:
    left = sum(
        not _matches_any(box) and not (flip and _matches_any((WIDTH - box[2], box[1], WIDTH - box[0], box[3])))
        for box in boxes
    )
    warning = _warning(network, boxes, (HEIGHT, WIDTH), ImageConfig((HEIGHT,), 1000, flip), annotated)
    if left:
        assert warning is not None and warning.startswith(f"{left} of the {len(boxes)} instances match no window")
    else:
        assert warning is None


def _matches_any(box: Box) -> bool:
    x0, y0, x1, y1 = box
    for level, sizes in enumerate(WITH_GAPS):
        stride = 4 * 2**level
        height, width = (side // stride + 2 for side in (HEIGHT, WIDTH))  # up to one beyond the edge
        for row, column, size in itertools.product(range(height), range(width), sizes):
            x, y = column * stride, row * stride
            if (
                max(x - x0, y - y0, x1 - x, y1 - y) <= size / 2
                and size - stride <= max(2 * max(x1 - x0, y1 - y0), WITH_GAPS[0][0])
                and math.hypot((x0 + x1) / 2 - x, (y0 + y1) / 2 - y) <= stride
            ):
                return True
    return False


def test_one_size_at_which_an_instance_matches_is_enough(network: TensorMask) -> None:
    boxes: list[Box] = [(0, 0, 700, 600), (50, 50, 80, 80)]
    shape = 4 * HEIGHT, 4 * WIDTH
    warning = _warning(network, boxes, shape, ImageConfig((4 * HEIGHT,), 1000, False))
    assert warning is not None and warning.startswith("1 of the 2 ")
    assert "1 of them are longer than the 282 pixels that the largest windows, of 410, contain at any place" in warning
    assert _warning(network, boxes, shape, ImageConfig((4 * HEIGHT, HEIGHT), 1000, False)) is None


def test_what_it_says_to_change_is_enough(network: TensorMask, tmp_path: Path) -> None:
    boxes: list[Box] = [(71, 50, 131, 100)]
    options = ImageConfig((HEIGHT,), 1000, False)
    warning = _warning(network, boxes, (HEIGHT, WIDTH), options)
    assert warning is not None and "longer sides are 60 to 60 pixels" in warning
    found = re.search(r"the longest matches a window of (\d+) to (\d+) pixels on the level of stride (\d+)", warning)
    assert found is not None
    least, most, stride = map(int, found.groups())
    assert (least, most) == (60 + stride, 120 + stride)
    for side in (least, most):
        sizes = [list(each) for each in WITH_GAPS]
        sizes[int(math.log2(stride)) - 2][0] = side
        changed = network_to_train(_config(tmp_path, sizes))
        assert _warning(changed, boxes, (HEIGHT, WIDTH), options) is None


@pytest.mark.parametrize("warned", [False, True])
def test_the_training_says_it_before_its_first_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], warned: bool
) -> None:
    fitting = CONFIG["MODEL"]["ANCHOR_GENERATOR"]["SIZES"]
    config = _config(tmp_path, [[8, 12], [16, 20], [24, 28], [200, 220], [300, 320], [400, 420]] if warned else fitting)
    train(config, Run(write_data(tmp_path / "data"), tmp_path / "out", workers=0))
    before_the_bar, _, _ = capsys.readouterr().err.partition("0/1")
    assert ("3 of the 3 instances match no window of MODEL.ANCHOR_GENERATOR.SIZES" in before_the_bar) == warned


def test_the_boxes_are_those_of_the_masks_to_a_pixel(tmp_path: Path) -> None:
    data = CocoFolder(write_data(tmp_path / "data"))
    instances = data.boxes()
    masks = np.concatenate([classes_and_masks(data, index)[1] for index in range(len(data))])
    expected = []
    for mask in masks:
        y, x = mask.nonzero()
        expected.append((x.min(), y.min(), x.max() + 1, y.max() + 1))
    assert np.abs(instances.boxes - np.array(expected)).max() <= 1
    assert not instances.annotated.any()
    assert instances.shapes.tolist() == [[SIZE, SIZE]] * 3


def test_no_instances_are_no_problem(network: TensorMask) -> None:
    assert _warning(network, [], (HEIGHT, WIDTH), ImageConfig((HEIGHT,), 1000, True)) is None
