"""Memory for masks grows with the detections, not with the feature map: no dense mask tensor, nowhere on the way."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensormask_server.network import masks
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

MASK_SIZE, SCALE, CHANNELS = 15, 8, 16


class LargestTensor(TorchDispatchMode):
    """Notes the bytes of the largest tensor that any operation returns."""

    num_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        for each in pytree.tree_leaves(result):
            if isinstance(each, Tensor):
                self.num_bytes = max(self.num_bytes, each.untyped_storage().nbytes())
        return result


def largest_tensor(map_side: int, num_detections: int) -> int:
    """In bytes, of making the masks of some detections on a square map."""
    features = torch.zeros(CHANNELS, map_side, map_side)
    weight, bias = torch.zeros(MASK_SIZE**2, CHANNELS, 1, 1), torch.zeros(MASK_SIZE**2)
    cells = torch.arange(num_detections) % (map_side // SCALE)
    with LargestTensor() as largest:
        masks.natural_masks(features, weight, bias, cells, cells, SCALE)
    return largest.num_bytes


def test_no_tensor_is_larger_than_the_features_or_the_masks() -> None:
    map_side, num_detections = 256, 3
    feature_bytes = 4 * CHANNELS * map_side**2
    dense_bytes = 4 * MASK_SIZE**2 * map_side**2  # before and after the op
    answer_bytes = 4 * num_detections * (SCALE * MASK_SIZE) ** 2
    largest = largest_tensor(map_side, num_detections)
    assert largest <= 2 * max(feature_bytes, answer_bytes)
    assert largest < dense_bytes / 6


def test_a_larger_map_with_the_same_detections_takes_no_more_for_masks() -> None:
    """Beyond the copy of the features, which a channel more, a border and float32 make."""
    features_with_border = [4 * (CHANNELS + 1) * (map_side + 2) ** 2 for map_side in (128, 640)]
    small, large = (largest_tensor(map_side, 20) for map_side in (128, 640))
    assert large <= max(small, features_with_border[1])
    assert small > features_with_border[0]


def test_nothing_is_made_for_all_detections_at_once_but_their_masks() -> None:
    """The windows of 60 masks of 120×120, with 17 features each, would be 59 MB."""
    answer_bytes = 4 * 60 * (SCALE * MASK_SIZE) ** 2
    assert largest_tensor(64, 60) <= answer_bytes
