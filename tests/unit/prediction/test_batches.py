"""Batches of one padded shape, and what becomes of a batch for which memory is short."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server.network.graphs import Graphs
from tensormask_server.prediction.batches import with_less_memory
from tensormask_server.timing import Stopwatch

from tests.unit.network.test_graphs import LARGE, Recorder
from tests.unit.small_network import as_on_a_gpu, assert_alike, noise, small_predictor


class Memory:
    """Takes so many images at a time. For more it raises torch's error."""

    def __init__(self, most: int):
        self.most = most
        self.tried: list[list[int]] = []
        self.given_back = 0

    def __call__(self, images: Sequence[int]) -> list[int]:
        self.tried.append(list(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return [10 * image for image in images]

    def give_back(self) -> None:
        self.given_back += 1


@pytest.mark.parametrize(
    ("most", "tried"),
    [
        (5, [[0, 1, 2, 3, 4]]),
        (3, [[0, 1, 2, 3, 4], [0, 1], [2, 3, 4]]),
        (1, [[0, 1, 2, 3, 4], [0, 1], [0], [1], [2, 3, 4], [2], [3, 4], [3], [4]]),
    ],
)
def test_a_batch_that_is_too_large_is_halved(most: int, tried: list[list[int]]) -> None:
    memory = Memory(most)
    assert with_less_memory(memory, range(5), memory.give_back) == [0, 10, 20, 30, 40]
    assert memory.tried == tried
    assert memory.given_back == sum(len(each) > most for each in tried)


def test_an_image_that_is_too_large_by_itself_is_tried_once_more_and_then_an_error() -> None:
    memory = Memory(0)
    with pytest.raises(torch.OutOfMemoryError):
        with_less_memory(memory, [7], memory.give_back)
    assert memory.tried == [[7], [7]]


def test_a_predictor_with_little_memory_detects_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives the memory of its recordings back, and makes them again."""
    recorder = Recorder()
    predictor = as_on_a_gpu(small_predictor(), Graphs(recorder, LARGE))
    assert predictor.batched is not None
    images = [noise(100, 140, seed=seed) for seed in range(5)]
    expected = small_predictor()(images)
    normalised = type(predictor.batched).normalised

    def with_little_memory(batched: Any, batch: Sequence[np.ndarray]) -> torch.Tensor:
        if len(batch) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return normalised(batched, batch)

    monkeypatch.setattr(type(predictor.batched), "normalised", with_little_memory)
    for _ in range(2):
        for ours, theirs in zip(predictor(images), expected, strict=True):
            assert_alike(ours, theirs)


def test_usual_shapes_are_recorded_before_the_first_request() -> None:
    recorder = Recorder()
    predictor = as_on_a_gpu(small_predictor(), Graphs(recorder, LARGE))
    predictor.prepare()
    assert recorder.recorded == [(1, 3, 96, 128), (1, 3, 128, 96)]
    predictor([noise(480, 640)])
    assert len(recorder.replayed) == 3
    small_predictor().prepare()  # a CPU has nothing to record


def test_the_stopwatch_measures_each_part() -> None:
    stopwatch = Stopwatch()
    as_on_a_gpu(small_predictor())([noise(100, 140), noise(40, 40)], stopwatch=stopwatch)
    assert set(stopwatch.seconds) == {"resize", "network", "masks"}
    assert all(seconds > 0 for seconds in stopwatch.seconds.values())


def test_images_of_any_number_and_shape_are_in_their_order() -> None:
    predictor = as_on_a_gpu(small_predictor())
    images = [noise(100 + 20 * (seed % 3), 140, seed=seed) for seed in range(11)]
    for image, found in zip(images, predictor(images), strict=True):
        assert_alike(found, predictor([image])[0])
