"""The detections of a batch of images, in operations of fixed sizes and one return to the host.

`detection.py` does the same for one image on the CPU. Both give the same detections in the same order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tensormask_server.network.dense import DenseMaps
from tensormask_server.network.detection import TRIED_FIRST, Candidates, Selection, non_maximum_suppression
from tensormask_server.network.kernels import Kernels
from tensormask_server.network.places import Places
from tensormask_server.network.selection_kernels import kept_by_kernels
from tensormask_server.network.transfers import packed_bits, to_device, to_host

# candidates whose overlaps are computed on the device, each with each: more would take too much memory
MOST_OVERLAPS = 1024


@dataclass(frozen=True)
class HostCandidates:
    """The detections of one image, best score first, on the host."""

    scores: np.ndarray  # float32 (D,), falling
    classes: np.ndarray  # int64 (D,), 0 … K-1
    levels: np.ndarray  # int64 (D,), 0 is the finest
    y: np.ndarray  # int64 (D,), cell of the level
    x: np.ndarray  # int64 (D,)
    anchors: np.ndarray  # int64 (D,), 0 … A-1
    anchor_boxes: np.ndarray  # float32 (D, 4), x0 y0 x1 y1 in pixels of the network's input
    boxes: np.ndarray  # float32 (D, 4), likewise

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, indices: np.ndarray) -> "HostCandidates":
        return HostCandidates(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))


def batched_detections(
    maps: DenseMaps, places: Places, selections: Sequence[Selection], topk: int, kernels: Kernels | None = None
) -> list[HostCandidates]:
    """Selects the detections of each image (docs/NETWORK.md, section 7).

    Only a better location can drop another. So the best locations are tried first, and more only if they are too few.

    Args:
        maps: of N images.
        selections: one per image.
        topk: the most locations of an image that are tried.
        kernels: of `selection_kernels`; None: operations of torch take their place.
    """
    maps = _of_classes(maps, places, selections)
    num_classes = maps.class_logits.shape[2] // places.num_anchors
    topk = min(topk, maps.class_logits[0].numel())
    first = min(TRIED_FIRST * max(each.max_detections for each in selections), topk, MOST_OVERLAPS)
    best = _best_locations(maps, first, num_classes)
    locations, scores, boxes, kept_of_images = _suppressed_first(best, selections, places, kernels)
    found: list[HostCandidates | None] = []
    for i, (selection, kept) in enumerate(zip(selections, kept_of_images, strict=True)):
        valid = int(np.count_nonzero(scores[i] > selection.score_threshold))  # scores fall
        enough = len(kept) == selection.max_detections or valid < first or first == topk
        chosen = locations[i, kept], scores[i, kept], boxes[i, kept]
        found.append(_located(*chosen, places, num_classes) if enough else None)
    if all(each is not None for each in found):
        return [each for each in found if each is not None]
    best = _best_locations(maps, topk, num_classes)
    locations, scores, boxes = to_host([best.locations, best.scores, best.boxes])
    return [
        _suppressed(locations[i], scores[i], boxes[i], places, num_classes, selection) if each is None else each
        for i, (each, selection) in enumerate(zip(found, selections, strict=True))
    ]


@dataclass(frozen=True)
class _Best:
    """The best locations of each image, best score first. Of equal scores the first location's is first."""

    locations: Tensor  # int64 (N, n): of (cell, a, k), flattened
    scores: Tensor  # float32 (N, n)
    classes: Tensor  # int64 (N, n)
    boxes: Tensor  # float32 (N, n, 4)


def _of_classes(maps: DenseMaps, places: Places, selections: Sequence[Selection]) -> DenseMaps:
    """The maps with a score of 0 for the classes that aren't among a selection's."""
    if all(each.classes is None for each in selections):
        return maps
    num_classes = maps.class_logits.shape[2] // places.num_anchors
    bias = np.zeros((len(selections), 1, places.num_anchors, num_classes), np.float32)
    for of_image, selection in zip(bias, selections, strict=True):
        if selection.classes is not None:
            of_image[:] = -np.inf
            of_image[..., list(selection.classes)] = 0
    [there] = to_device([bias.reshape(len(selections), 1, -1)], maps.class_logits.device)
    logits = maps.class_logits + there.to(maps.class_logits.dtype)
    return maps._replace(class_logits=logits, best_logits=logits.amax(dim=2))


def _best_locations(maps: DenseMaps, most: int, num_classes: int) -> _Best:
    """The `most` best locations of each image.

    They lie in the `most` cells that are best by their highest scores, the first of equal ones. Any location in
    another cell has as many better ones before it. Stable sorts keep the order of equal scores, which a top-k doesn't.
    """
    num_cells, channels = maps.class_logits.shape[1:]
    order = maps.best_logits.float().sigmoid().sort(dim=1, descending=True, stable=True).indices
    cells = order[:, : min(most, num_cells)].sort(dim=1).values  # (N, c), rising
    logits = maps.class_logits.gather(1, cells[:, :, None].expand(-1, -1, channels))  # (N, c, A·K)
    scores, order = logits.float().sigmoid().flatten(1).sort(dim=1, descending=True, stable=True)
    scores, order = scores[:, :most], order[:, :most]
    rank = order // channels
    locations = torch.add(order, cells.gather(1, rank) - rank, alpha=channels)
    boxes = maps.boxes.gather(1, (locations // num_classes)[:, :, None].expand(-1, -1, 4))
    return _Best(locations, scores, locations % num_classes, boxes)


def _suppressed_first(
    best: _Best, selections: Sequence[Selection], places: Places, kernels: Kernels | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[Sequence[int]]]:
    """Non-maximum suppression of each image's best locations, of which there are at most MOST_OVERLAPS.

    Returns:
        The locations, scores and boxes on the host, and per image which of them are kept, rising.
    """
    kept: list[Sequence[int]]
    if kernels is not None:
        there = kept_by_kernels(best.scores, best.classes, best.boxes, selections, kernels)
        locations, indices, counts, scores, boxes = to_host([best.locations, *there, best.scores, best.boxes])
        kept = [of_image[:count].tolist() for of_image, count in zip(indices, counts.tolist(), strict=True)]
        return locations, scores, boxes, kept
    overlaps = _overlaps(best, [each.nms_threshold for each in selections], places.bit_values)
    locations, scores, boxes, bits = to_host([best.locations, best.scores, best.boxes, overlaps])
    kept = []
    for of_image, bits_of_image, selection in zip(scores, bits, selections, strict=True):
        valid = int(np.count_nonzero(of_image > selection.score_threshold))  # scores fall
        kept.append(_greedy(bits_of_image, valid, selection.max_detections))
    return locations, scores, boxes, kept


def _overlaps(best: _Best, nms_thresholds: list[float], bit_values: Tensor) -> Tensor:
    """Which locations of an image drop which, if they are kept, as bits.

    Args:
        nms_thresholds: per image.
        bit_values: of `packed_bits`, the lowest bit first.

    Returns:
        uint8 (N, n, ⌈n/8⌉). Bit j % 8 of byte j // 8 of row i: i and j are of a class, and their IoU is above the
        threshold.
    """
    device = best.boxes.device
    low, high = best.boxes[:, :, :2], best.boxes[:, :, 2:]
    areas = (high - low).prod(dim=2)  # (N, n)
    sides = torch.minimum(high[:, :, None], high[:, None]) - torch.maximum(low[:, :, None], low[:, None])
    intersection = sides.clamp_(min=0).prod(dim=3)  # (N, n, n)
    # an IoU above the threshold, written without a division that two empty boxes would make 0/0
    union = (areas[:, :, None] + areas[:, None]) - intersection
    if len(set(nms_thresholds)) == 1:
        union *= nms_thresholds[0]
    else:
        union *= to_device([np.array(nms_thresholds, np.float32)], device)[0][:, None, None]
    drops = (intersection > union) & (best.classes[:, :, None] == best.classes[:, None])
    missing = -drops.shape[2] % 8
    if missing:
        drops = F.pad(drops, (0, missing))
    return packed_bits(drops, bit_values)


def _greedy(bits: np.ndarray, valid: int, max_detections: int) -> list[int]:
    """Greedy non-maximum suppression.

    Args:
        bits: uint8 (n, ⌈n/8⌉), of `_overlaps`.
        valid: how many locations, from the first on, are above the score threshold.

    Returns:
        The indices of at most max_detections that are kept, rising.
    """
    memory, row = bits.tobytes(), bits.shape[1]
    alive = (1 << valid) - 1  # a number with one bit per location
    kept: list[int] = []
    while alive and len(kept) < max_detections:
        best = (alive & -alive).bit_length() - 1
        kept.append(best)
        alive &= ~(int.from_bytes(memory[best * row : (best + 1) * row], "little") | 1 << best)
    return kept


def _located(
    locations: np.ndarray, scores: np.ndarray, boxes: np.ndarray, places: Places, num_classes: int
) -> HostCandidates:
    anchors, classes = np.divmod(locations, num_classes)  # of all cells
    levels, y, x = places.located(anchors // places.num_anchors)
    return HostCandidates(
        scores, classes, levels, y, x, anchors % places.num_anchors, places.anchor_boxes[anchors], boxes
    )


def _suppressed(
    locations: np.ndarray,
    scores: np.ndarray,
    boxes: np.ndarray,
    places: Places,
    num_classes: int,
    selection: Selection,
) -> HostCandidates:
    """Non-maximum suppression of one image's best locations on the host."""
    valid = int(np.count_nonzero(scores > selection.score_threshold))
    every = _located(locations[:valid], scores[:valid], boxes[:valid], places, num_classes)
    candidates = Candidates(*(torch.from_numpy(getattr(every, name)) for name in every.__dataclass_fields__))
    kept = non_maximum_suppression(candidates, selection.nms_threshold, selection.max_detections)
    return HostCandidates(*(getattr(kept, name).numpy() for name in every.__dataclass_fields__))
