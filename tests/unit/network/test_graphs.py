"""Recordings of the network by shape: what they replay, when they are made, and when they go."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tensormask_server.network.dense import DenseMaps
from tensormask_server.network.graphs import Function, Graphs, Recording, graphs_for
from torch import Tensor

from tests.unit.small_network import as_on_a_gpu, assert_alike, noise, small_predictor

LARGE = 1 << 40  # bytes


class Recorder:
    """Does on a CPU what a CUDA graph does: it reads one tensor and writes its results into the same ones each time."""

    def __init__(self, num_bytes: int = 1, error: RuntimeError | None = None):
        self.num_bytes = num_bytes
        self.error = error
        self.recorded: list[tuple[int, ...]] = []
        self.replayed: list[tuple[int, ...]] = []

    def __call__(self, function: Function, argument: Tensor) -> Recording:
        self.recorded.append(tuple(argument.shape))
        if self.error is not None:
            raise self.error
        kept = argument.clone()
        result = function(kept)

        def replay(images: Tensor) -> DenseMaps:
            self.replayed.append(tuple(images.shape))
            kept.copy_(images)
            for ours, new in zip(_tensors(result), _tensors(function(kept)), strict=True):
                ours.copy_(new)
            return result

        return Recording(function, replay, self.num_bytes)


def _tensors(maps: DenseMaps) -> list[Tensor]:
    return [maps.class_logits, maps.best_logits, maps.boxes, *maps.mask_towers]


def plus(number: float) -> Callable[[Tensor], DenseMaps]:
    return lambda images: DenseMaps(images + number, images, images, ())


def run(graphs: Graphs, side: int, value: float = 0) -> None:
    result = graphs.run(plus(1), torch.full((side,), value))
    assert torch.equal(result.class_logits, torch.full((side,), value + 1))


def test_images_after_one_another_have_the_detections_that_they_have_without_recordings() -> None:
    recorder = Recorder()
    predictor = as_on_a_gpu(small_predictor(), Graphs(recorder, LARGE))
    images = [noise(*size, seed=seed) for seed, size in enumerate([(100, 140), (100, 140), (140, 100), (100, 140)] * 2)]
    for image in images:
        [found], [expected] = predictor([image]), small_predictor()([image])
        assert len(expected) > 0
        assert_alike(found, expected)
    assert len(recorder.recorded) == 2
    assert len(recorder.replayed) == len(images) - 2  # but for the first image of each shape


def test_the_second_run_of_a_shape_is_recorded() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, LARGE)
    for value, side in enumerate([3, 4, 3, 3, 4, 5]):
        run(graphs, side, value)
    assert recorder.recorded == [(3,), (4,)]
    assert recorder.replayed == [(3,), (3,), (4,)]


def test_the_recording_that_was_used_least_recently_goes_first() -> None:
    recorder = Recorder(num_bytes=10)
    graphs = Graphs(recorder, most_bytes=25)
    for side in (3, 3, 4, 4, 3, 5, 5):
        run(graphs, side)
    recorder.recorded.clear()
    for side in (3, 5):
        run(graphs, side)
    assert recorder.recorded == []
    run(graphs, 4)
    assert recorder.recorded == [(4,)]


def test_a_recording_larger_than_the_limit_is_kept_by_itself() -> None:
    recorder = Recorder(num_bytes=10)
    graphs = Graphs(recorder, most_bytes=5)
    for side in (3, 3, 3, 4, 4, 3):
        run(graphs, side)
    assert recorder.recorded == [(3,), (4,), (3,)]


def test_what_can_not_be_recorded_runs_without_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(error=RuntimeError("operation not permitted when stream is capturing"))
    graphs = Graphs(recorder, LARGE)
    with caplog.at_level(logging.WARNING):
        for side in (3, 3, 3, 4, 4):
            run(graphs, side)
    assert recorder.recorded == [(3,)]
    [line] = [record.getMessage() for record in caplog.records]
    assert "operation not permitted" in line


def test_a_recording_for_which_memory_is_short_is_tried_again_later() -> None:
    recorder = Recorder(error=torch.OutOfMemoryError("CUDA out of memory"))
    graphs = Graphs(recorder, LARGE)
    for side in (3, 3):
        run(graphs, side)
    recorder.error = None
    for side in (3, 3):
        run(graphs, side)
    assert recorder.recorded == [(3,), (3,)]
    assert recorder.replayed == [(3,)]


def test_cleared_recordings_are_made_again() -> None:
    recorder = Recorder()
    graphs = Graphs(recorder, LARGE)
    for side in (3, 3):
        run(graphs, side)
    graphs.clear()
    for side in (3, 3):
        run(graphs, side)
    assert recorder.recorded == [(3,), (3,)]


def test_a_cpu_runs_the_function_itself() -> None:
    images = torch.from_numpy(np.zeros(3, np.float32))
    graphs = graphs_for(torch.device("cpu"))
    for _ in range(3):
        assert graphs.run(plus(1), images).best_logits is images
