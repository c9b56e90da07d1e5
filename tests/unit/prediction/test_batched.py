"""A GPU's path gives what the CPU's gives: images together, with few operations and few returns to the host."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server import PredictionOptions, Predictor
from tensormask_server.network import batched_masks, batched_selection
from tensormask_server.network.batched_selection import HostCandidates
from tensormask_server.network.detection import Selection
from tensormask_server.options import GPU_BATCH_SIZE
from tensormask_server.prediction.batched import Input
from tensormask_server.timing import Stopwatch

from bench.networks import published_network
from bench.operations import Operations
from tests.unit.host_copies import recorded_returns
from tests.unit.small_network import NO_CHANGES, as_on_a_gpu, assert_alike, noise, small_predictor

NOTHING = 0.9999  # a threshold that no score of these weights passes
SIZES = (16, 20, 28)
MANY_ANCHORS = {
    "MODEL.ANCHOR_GENERATOR.SIZES": [[size * 2**level for size in SIZES] for level in range(6)],
    "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS": [[0.5, 1, 2]],
    "TEST.DETECTIONS_PER_IMAGE": 200,
}


def aligned(aligned_on: bool, bipyramid_on: bool) -> dict[str, Any]:
    return {"MODEL.TENSOR_MASK.ALIGNED_ON": aligned_on, "MODEL.TENSOR_MASK.BIPYRAMID_ON": bipyramid_on}


CHANGES = {
    "small": NO_CHANGES,
    "three sizes and three ratios": MANY_ANCHORS,
    "aligned only": MANY_ANCHORS | aligned(True, False),
    "not aligned": MANY_ANCHORS | aligned(False, False),
    "boxes only": {"MODEL.MASK_ON": False},
    "two levels": {
        "MODEL.TENSOR_MASK.IN_FEATURES": ["p3", "p4"],
        "MODEL.ANCHOR_GENERATOR.SIZES": [[32], [64]],
    },
    "RGB": {"INPUT.FORMAT": "RGB", "MODEL.PIXEL_STD": [57.375, 57.12, 58.395]},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES.keys())
def test_a_gpus_path_detects_what_the_cpus_detects(changes: dict[str, Any]) -> None:
    """On images of several shapes, with options of their own; on some of them there is nothing."""
    low = {"MODEL.TENSOR_MASK.SCORE_THRESH_TEST": 0.001, **changes}
    sizes = [(100, 140), (97, 131), (100, 140), (140, 100), (100, 140), (1, 1), (3, 500), (100, 139)]
    images = [noise(*size, seed=seed) for seed, size in enumerate(sizes)]
    options = [PredictionOptions()] * len(images)
    options[1] = PredictionOptions(score_threshold=NOTHING)
    options[2] = PredictionOptions(classes=(0,), max_detections=3, nms_threshold=0.2)
    options[4] = PredictionOptions(mask_threshold=0.3, classes=())
    options[7] = PredictionOptions(mask_threshold=0.7, max_detections=200)
    expected = small_predictor(low)(images, options)
    found = as_on_a_gpu(small_predictor(low))(images, options)
    for ours, theirs in zip(found, expected, strict=True):
        assert_alike(ours, theirs)
    assert [len(each) > 0 for each in expected] == [True, False, True, True, False, True, True, True]


def test_nothing_on_all_images_is_no_detections() -> None:
    found = as_on_a_gpu(small_predictor())([noise(50, 70)] * 2, NOTHING)
    for each in found:
        assert len(each) == 0
        assert each.masks is not None
        assert (each.masks.shape, each.boxes.shape, each.boxes.dtype) == ((0, 50, 70), (0, 4), np.float32)
        assert (each.scores.dtype, each.classes.dtype) == (np.float32, np.int64)
    assert as_on_a_gpu(small_predictor())([]) == []


@pytest.mark.parametrize(("limit", "value"), [("MOST_GATHERED", 1), ("MOST_PRODUCTS", 1)])
def test_masks_are_the_same_in_parts(limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [noise(100, 140, seed=seed) for seed in range(3)]
    expected = as_on_a_gpu(small_predictor())(images)
    monkeypatch.setattr(batched_masks, limit, value)
    for ours, theirs in zip(as_on_a_gpu(small_predictor())(images), expected, strict=True):
        assert_alike(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_what_the_cpus_path_gives_in_it(dtype: torch.dtype) -> None:
    image = noise(100, 140)
    [ours], [theirs] = (
        as_on_a_gpu(small_predictor(dtype=dtype))([image], 0.3),
        small_predictor(dtype=dtype)([image], 0.3),
    )
    assert len(ours) > 0
    np.testing.assert_array_equal(ours.classes, theirs.classes)
    np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1)
    assert ours.masks is not None
    assert np.mean(ours.masks != theirs.masks) < 0.01


# --- what it costs ----------------------------------------------------------------------------------------------------

MOST_OPERATIONS, MOST_BESIDE_CONVOLUTIONS, MOST_OF_A_BATCH, MOST_RETURNS = 450, 120, 250, 4


@pytest.fixture(scope="module")
def published() -> Predictor:
    """R50 at its published size."""
    return as_on_a_gpu(Predictor(published_network(0), torch.device("cpu"), torch.float32, winograd=False, fused=False))


class Parts:
    """Counts operations by what they belong to."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch):
        self.every = Operations()
        self.convolutions = Operations()
        self.input = Operations()
        network, head = predictor.network, predictor.network.head
        convolutions = [(head, name) for name in ("class_logits", "box_deltas", "mask_tower", "mask_features")]
        for owner, name in [(network, "features"), *convolutions]:
            self._count(owner, name, self.convolutions, monkeypatch)
        self._count(predictor.batched, "normalised", self.input, monkeypatch)

    @staticmethod
    def _count(owner: object, name: str, operations: Operations, monkeypatch: pytest.MonkeyPatch) -> None:
        function = getattr(owner, name)

        def counted(*args: Any) -> Any:
            with operations:
                return function(*args)

        monkeypatch.setattr(owner, name, counted)

    @property
    def others(self) -> int:
        """The operations between the network's convolutions and the detections."""
        return self.every.counts.total() - self.convolutions.counts.total() - self.input.counts.total()


@pytest.mark.parametrize(("count", "most"), [(1, MOST_BESIDE_CONVOLUTIONS), (GPU_BATCH_SIZE, MOST_OF_A_BATCH)])
@torch.inference_mode()
def test_a_batch_takes_few_operations_and_returns(
    published: Predictor, count: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph replays nearly all of the convolutions' operations in one launch."""
    assert published.batched is not None
    selection = Selection(0.05, 0.9, 100)
    inputs = [Input(noise(128, 190, seed=seed), 128, 190, selection, 0.5) for seed in range(count)]
    published.batched(inputs, Stopwatch())  # what is made once per shape
    parts = Parts(published, monkeypatch)
    with parts.every, recorded_returns(monkeypatch) as returns:
        found = published.batched(inputs, Stopwatch())
    assert [len(each) for each in found] == [100] * count
    assert 0 < len(returns) <= MOST_RETURNS
    assert 300 < parts.convolutions.counts.total() < parts.every.counts.total() <= MOST_OPERATIONS
    assert 0 < parts.others <= most


@torch.inference_mode()
def test_masks_on_all_levels_take_few_operations(published: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The images above may have none on some levels; this has each level and size."""
    assert published.batched is not None
    select = batched_selection.batched_detections

    def of_all_levels(*args: Any) -> list[HostCandidates]:
        [found] = select(*args)
        levels, sizes = (each.flatten() for each in np.meshgrid(range(6), range(2), indexing="ij"))
        zeros = np.zeros(12, np.int64)
        return [replace(found[np.arange(12)], levels=levels, anchors=sizes, y=zeros, x=zeros)]

    monkeypatch.setattr("tensormask_server.prediction.batched.batched_detections", of_all_levels)
    inputs = [Input(noise(128, 190), 128, 190, Selection(0.05, 0.9, 100), 0.5)]
    published.batched(inputs, Stopwatch())
    parts = Parts(published, monkeypatch)
    with parts.every:
        published.batched(inputs, Stopwatch())
    assert 300 < parts.every.counts.total() <= MOST_OPERATIONS
    assert 0 < parts.others <= MOST_BESIDE_CONVOLUTIONS
