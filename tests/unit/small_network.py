"""Networks small enough to run in a blink, with the synthetic weights of the reference's cases."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from tensormask_server import Detections, Predictor
from tensormask_server.network.config import TensorMaskConfig, parse_config
from tensormask_server.network.graphs import Graphs, graphs_for
from tensormask_server.network.loading import load_weights
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.options import GPU_BATCH_SIZE
from tensormask_server.prediction.batched import BatchedPrediction

from reference.synthetic_weights import synthetic_state

NO_CHANGES: Mapping[str, Any] = {}

SMALL: dict[str, Any] = {
    "MODEL": {
        "META_ARCHITECTURE": "TensorMask",
        "MASK_ON": True,
        "BACKBONE": {"NAME": "build_retinanet_resnet_fpn_backbone"},
        "RESNETS": {"DEPTH": 50, "STEM_OUT_CHANNELS": 16, "RES2_OUT_CHANNELS": 32, "WIDTH_PER_GROUP": 8},
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"], "FUSE_TYPE": "avg", "OUT_CHANNELS": 16},
        "ANCHOR_GENERATOR": {
            "SIZES": [[16 * 2**level, 24 * 2**level] for level in range(6)],
            "ASPECT_RATIOS": [[1.0]],
        },
        "TENSOR_MASK": {
            "ALIGNED_ON": True,
            "BIPYRAMID_ON": True,
            "NUM_CLASSES": 4,
            "NUM_CONVS": 1,
            "CLS_CHANNELS": 16,
            "BBOX_CHANNELS": 8,
            "MASK_CHANNELS": 8,
        },
    },
    "INPUT": {"MIN_SIZE_TEST": 96, "MAX_SIZE_TEST": 160},
    "TEST": {"DETECTIONS_PER_IMAGE": 30},
}


def with_keys(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with other values of some dotted keys."""
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    for key, value in changes.items():
        *sections, name = key.split(".")
        node = changed
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = value
    return changed


def small_config(changes: Mapping[str, Any] = NO_CHANGES) -> TensorMaskConfig:
    return parse_config(with_keys(SMALL, changes))


def shapes(changes: Mapping[str, Any] = NO_CHANGES) -> dict[str, tuple[int, ...]]:
    """Of the network of `small_config`, by the entries' names."""
    with torch.device("meta"):
        entries = TensorMask(small_config(changes)).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in entries.items()}


def small_weights(changes: Mapping[str, Any] = NO_CHANGES, seed: int = 0) -> dict[str, np.ndarray]:
    """Named float32 arrays, all that the network of `small_config` has."""
    return synthetic_state(shapes(changes), seed)


def small_network(changes: Mapping[str, Any] = NO_CHANGES, seed: int = 0) -> TensorMask:
    network = TensorMask(small_config(changes))
    load_weights(network, {name: torch.from_numpy(array) for name, array in small_weights(changes, seed).items()})
    return network


def small_predictor(
    changes: Mapping[str, Any] = NO_CHANGES, seed: int = 0, dtype: torch.dtype = torch.float32
) -> Predictor:
    return Predictor(small_network(changes, seed), torch.device("cpu"), dtype)


def as_on_a_gpu(predictor: Predictor, graphs: Graphs | None = None) -> Predictor:
    """Lets a predictor on the CPU run images as one on a GPU does: together."""
    graphs = graphs or graphs_for(predictor.device)
    predictor.batched = BatchedPrediction(predictor.network, predictor.device, predictor.dtype, graphs)
    predictor.batch_size = GPU_BATCH_SIZE
    return predictor


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An image, uint8 (H, W, 3): patches of 8 pixels, since noise of single pixels would be averaged away."""
    random = np.random.default_rng(seed)
    patches = random.integers(0, 256, (-(-height // 8), -(-width // 8), 3), dtype=np.uint8)
    return patches.repeat(8, axis=0).repeat(8, axis=1)[:height, :width].copy()


def assert_alike(found: Detections, expected: Detections) -> None:
    """The same detections, up to the rounding of sums in another order."""
    np.testing.assert_array_equal(found.classes, expected.classes)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=1e-4, atol=1e-2)
    if found.masks is None or expected.masks is None:
        assert found.masks is expected.masks
        return
    assert found.masks.shape == expected.masks.shape
    assert np.count_nonzero(found.masks != expected.masks) <= 1e-4 * found.masks.size
