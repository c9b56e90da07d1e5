"""Which instances of the data no window of the configuration can learn, found before the first step."""

import dataclasses
import math

import numpy as np
import torch
from tensormask_server.network.config import InputConfig
from tensormask_server.network.tensormask import TensorMask
from torch import Tensor

from training.resized_boxes import InstanceBoxes, flipped_boxes, resized_boxes
from training.settings import ImageConfig
from training.targets import MOST_TIMES_LONGER, smallest_side, takes


def warning_of_unmatched(
    network: TensorMask, instances: InstanceBoxes, options: ImageConfig, normalisation: InputConfig
) -> str | None:
    """Says how many instances match no window at any size and flip of the training, and what to change.

    It is about what other windows would change. So each instance is considered alone, by its box (of a mask it is known
    to a pixel), and as if there were cells beyond the right and bottom edges too. Thus it leaves out instances whose
    windows are all ignored because others match them, and narrow ones along those edges, too far from the last cells.

    Args:
        instances: the boxes of the data's instances.
        normalisation: as `Batches`.

    Returns:
        The warning, or None where each instance matches a window.
    """
    first_size = min(options.min_sizes)
    sides = np.empty(0)  # of the instances that no size so far can learn: the longer ones, at the first size
    unmatched = instances
    for size in sorted(options.min_sizes):
        resizing = dataclasses.replace(normalisation, min_size=size, max_size=options.max_size)
        scaled, scaled_shapes = resized_boxes(unmatched, resizing)
        if size == first_size:
            sides = (scaled[:, 2:] - scaled[:, :2]).max(axis=1)
        matched = _match(network, scaled)
        if options.flip:
            matched |= _match(network, flipped_boxes(scaled, scaled_shapes[:, 1]))
        unmatched, sides = unmatched[~matched], sides[~matched]
        if not len(unmatched):
            return None
    return _warning(network, sides, len(instances), first_size)


def _match(network: TensorMask, boxes: np.ndarray) -> np.ndarray:
    """Whether any window of any level takes the box, bool (M,).

    Of a level's cells the one nearest to the box's centre is enough: containment and centrality only get worse away
    from it, along each axis.
    """
    of_boxes = torch.from_numpy(boxes).float()
    centres = (of_boxes[:, :2] + of_boxes[:, 2:]) / 2
    anchors = _cell_anchors(network)
    matched = torch.zeros(len(boxes), dtype=torch.bool)
    for cell_anchors, stride in zip(anchors, network.strides, strict=True):
        cells = (centres / stride).round() * stride
        windows = cells.repeat(1, 2)[:, None] + cell_anchors  # (M, A, 4)
        matched |= takes(windows, of_boxes[:, None], stride, smallest_side(anchors[0])).any(dim=1)
    return matched.numpy()


def _warning(network: TensorMask, sides: np.ndarray, number: int, size: int) -> str:
    window_sides = [(anchors[:, 2:] - anchors[:, :2]).amax(dim=1) for anchors in _cell_anchors(network)]
    longest = float(sides.max())
    level = min(range(len(window_sides)), key=lambda at: float((window_sides[at] / longest).log().abs().min()))
    stride = network.strides[level]
    most = max(MOST_TIMES_LONGER * longest, float(window_sides[0].min())) + stride
    # a window contains wherever it is what is shorter by a stride, as its centre is up to half of that away, either way
    contained, largest = max(
        (float(each.max()) - stride, float(each.max()))
        for each, stride in zip(window_sides, network.strides, strict=True)
    )
    too_long = int((sides > contained).sum())
    smaller = (
        f" {too_long} of them are longer than the {contained:g} pixels that the largest windows, of {largest:g}, "
        "contain at any place: smaller images, by INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN, are the other way to match "
        "these."
    )
    return (
        f"{len(sides)} of the {number} instances match no window of MODEL.ANCHOR_GENERATOR.SIZES at any size of "
        f"INPUT.MIN_SIZE_TRAIN, so the network won't learn them. With the shorter side of the image at {size} their "
        f"longer sides are {sides.min():g} to {longest:g} pixels. Change SIZES: the longest matches a window of "
        f"{math.ceil(longest + stride)} to {math.floor(most)} pixels on the level of stride {stride}."
        f"{smaller if too_long else ''}"
    )


def _cell_anchors(network: TensorMask) -> list[Tensor]:
    return [network.get_buffer(f"cell_anchors_{level}").cpu() for level in range(len(network.strides))]
