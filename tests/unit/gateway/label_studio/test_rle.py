"""Masks in Label Studio's run lengths, read by a decoder that follows the format's description."""

from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools import mask as coco
from tensormask_server.gateway.label_studio.rle import brush_rle

SIZES = ((1, 1), (1, 9), (9, 1), (5, 7), (40, 30), (210, 300))


def decoded(rle: Sequence[int], height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 4): @thi.ng/rle-pack's format, bit by bit."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(bits[place - count : place], 2)

    count = read(32)
    word = read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < count:
        is_repeated = read(1)
        length = read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_repeated else [read(word) for _ in range(length)]
    assert len(values) == count == 4 * height * width
    assert len(bits) - place < 8
    assert "1" not in bits[place:]
    return np.array(values, np.uint8).reshape(height, width, 4)


def check(mask: np.ndarray) -> None:
    counts = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    rle = brush_rle(counts, *mask.shape)
    assert all(type(each) is int for each in rle)
    np.testing.assert_array_equal(decoded(rle, *mask.shape), np.repeat(255 * mask[..., None], 4, axis=2))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_any_mask_comes_back(size: tuple[int, int], share: float) -> None:
    check(np.random.default_rng(0).random(size) < share)


@pytest.mark.parametrize("size", SIZES)
def test_whole_rows_and_columns_come_back(size: tuple[int, int]) -> None:
    for axis in (0, 1):
        mask = np.zeros(size, bool)
        np.moveaxis(mask, axis, 0)[size[axis] // 3 : size[axis] // 2 + 1] = True
        check(mask)


def test_a_run_of_more_than_65536_values_is_written_as_several() -> None:
    mask = np.zeros((300, 400), bool)
    mask[40:250] = True
    check(mask)


def test_the_bytes_are_those_of_the_description() -> None:
    """One pixel of two: 8 values, of which four are 0 and four 255."""
    counts = coco.encode(np.asfortranarray([[0, 1]], np.uint8))["counts"].decode()
    head = f"{8:032b}" + f"{7:05b}" + "".join(f"{bits - 1:04b}" for bits in (3, 4, 8, 16))
    runs = "1" + "00" + "011" + "00000000" + "1" + "00" + "011" + "11111111"
    bits = (head + runs).ljust(88, "0")
    assert brush_rle(counts, 1, 2) == [int(bits[start : start + 8], 2) for start in range(0, 88, 8)]
