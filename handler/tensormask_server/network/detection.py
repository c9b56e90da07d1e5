"""From class logits and box deltas to the detections of one image (docs/NETWORK.md, section 7)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from tensormask_server.network.anchors import anchors_at, apply_deltas

# boxes are first computed for this multiple of max_detections; further locations seldom matter
TRIED_FIRST = 10

# the box deltas of chosen locations: from levels, y, x and anchors, int64 (N,) each, to float32 (N, 4)
DeltasAt = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Selection:
    """Which locations of an image become detections."""

    score_threshold: float  # only scores strictly above it
    nms_threshold: float  # a box with an IoU strictly above it to a better one of its class is dropped
    max_detections: int
    classes: tuple[int, ...] | None = None  # only these, in rising order; None: all


@dataclass(frozen=True)
class Locations:
    """The N locations of one image with the best scores, best first."""

    scores: Tensor  # float32 (N,), falling
    classes: Tensor  # int64 (N,), 0 … K-1
    levels: Tensor  # int64 (N,), 0 is the finest
    y: Tensor  # int64 (N,), cell of the level
    x: Tensor  # int64 (N,)
    anchors: Tensor  # int64 (N,), 0 … A-1

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, indices: Tensor | slice) -> Self:
        return type(self)(*(getattr(self, name)[indices] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Candidates(Locations):
    """Locations with the boxes that are predicted there."""

    anchor_boxes: Tensor  # float32 (N, 4), x0 y0 x1 y1 in pixels of the network's input
    boxes: Tensor  # float32 (N, 4), likewise

    def followed_by(self, others: "Candidates") -> "Candidates":
        return Candidates(
            *(torch.cat((getattr(self, name), getattr(others, name))) for name in self.__dataclass_fields__)
        )


def detect(locations: Locations, candidates_at: Callable[[Locations], Candidates], selection: Selection) -> Candidates:
    """Non-maximum suppression of locations, with as few boxes as it needs.

    Only a better location can drop another. So if the best locations are enough, the others need no boxes.

    Args:
        locations: of one image.
        candidates_at: gives locations their boxes.

    Returns:
        At most max_detections of them, best score first.
    """
    first = TRIED_FIRST * selection.max_detections
    candidates = candidates_at(locations[:first])
    kept = non_maximum_suppression(candidates, selection.nms_threshold, selection.max_detections)
    if len(kept) == selection.max_detections or len(locations) <= first:
        return kept
    candidates = candidates.followed_by(candidates_at(locations[first:]))
    return non_maximum_suppression(candidates, selection.nms_threshold, selection.max_detections)


def best_locations(class_logits: list[Tensor], num_anchors: int, selection: Selection, topk: int) -> Locations:
    """The best locations of one image over all levels together, of the selection's classes and above its threshold.

    Args:
        class_logits: per level (A·K, H, W).
        num_anchors: A.
        topk: the most locations.
    """
    classes = selection.classes
    if classes is not None:
        class_logits = [
            logits.view(num_anchors, -1, *logits.shape[1:])[:, list(classes)].flatten(0, 1) for logits in class_logits
        ]
    # the order of the flattened (y, x, a, k) decides between equal scores
    above = [_topk_above(logits.permute(1, 2, 0).flatten(), selection.score_threshold, topk) for logits in class_logits]
    scores, order = torch.cat([level_scores for _, level_scores in above]).sort(descending=True, stable=True)
    order = order[:topk]
    levels = torch.cat([torch.full_like(indices, level) for level, (indices, _) in enumerate(above)])[order]
    indices = torch.cat([indices for indices, _ in above])[order]
    channels = len(class_logits[0])
    cells, channel = indices // channels, indices % channels
    widths = torch.tensor([logits.shape[2] for logits in class_logits], device=levels.device)[levels]
    num_classes = channels // num_anchors
    kept_classes = channel % num_classes
    if classes is not None:
        kept_classes = torch.tensor(classes, dtype=torch.int64, device=kept_classes.device)[kept_classes]
    return Locations(scores[:topk], kept_classes, levels, cells // widths, cells % widths, channel // num_classes)


def candidates_at(
    locations: Locations,
    box_deltas: DeltasAt,
    cell_anchors: list[Tensor],
    strides: list[int],
    bbox_reg_weights: tuple[float, float, float, float],
) -> Candidates:
    """Gives locations their boxes.

    Args:
        box_deltas: gives the deltas of chosen locations.
        cell_anchors: per level float32 (A, 4).
        strides: per level, pixels of the network's input per cell.
        bbox_reg_weights: of `apply_deltas`.
    """
    levels, y, x, anchors = locations.levels, locations.y, locations.x, locations.anchors
    anchor_boxes = _anchor_boxes(cell_anchors, strides, levels, y, x, anchors)
    boxes = apply_deltas(anchor_boxes, box_deltas(levels, y, x, anchors), bbox_reg_weights)
    return Candidates(locations.scores, locations.classes, levels, y, x, anchors, anchor_boxes, boxes)


def non_maximum_suppression(candidates: Candidates, iou_threshold: float, max_detections: int) -> Candidates:
    """Drops a box whose IoU with a kept box of its class and a higher score is strictly above the threshold; greedy.

    Args:
        candidates: best score first.

    Returns:
        At most max_detections of them, best score first.
    """
    # a few hundred steps, each of which depends on the one before: so on the host, with one copy there and one back
    classes = candidates.classes.cpu().numpy()
    by_class = np.argsort(classes, kind="stable")
    ends = np.cumsum(np.bincount(classes))  # (K,), where each class ends in this order
    corners = np.ascontiguousarray(candidates.boxes.cpu().numpy()[by_class].T)  # (4, N)
    low, high = corners[:2], corners[2:]  # (2, N) each, x and y
    areas = np.multiply(*(high - low))  # (N,)
    place = np.empty_like(by_class)  # (N,), of each candidate in this order
    place[by_class] = np.arange(len(by_class))
    alive = np.ones(len(classes), dtype=bool)
    kept: list[int] = []
    best = 0
    while len(kept) < max_detections and best < len(classes):
        kept.append(best)
        alive[best] = False
        here = place[best]
        rivals = slice(here + 1, ends[classes[best]])  # the boxes of its class with lower scores
        own = slice(here, here + 1)
        sides = np.minimum(high[:, rivals], high[:, own]) - np.maximum(low[:, rivals], low[:, own])
        intersection = np.multiply(*np.maximum(sides, 0))
        # an IoU above the threshold, written without a division that two empty boxes would make 0/0
        union = areas[rivals] + areas[here] - intersection
        alive[by_class[rivals][intersection > iou_threshold * union]] = False
        best += int(alive[best:].argmax())  # if none is left, argmax gives this one, which isn't alive
        if not alive[best]:
            break
    return candidates[torch.tensor(kept, dtype=torch.int64, device=candidates.boxes.device)]


def deltas_of(box_deltas: list[Tensor]) -> DeltasAt:
    """From the deltas of all locations of one image, per level (A·4, H, W), those of chosen ones."""

    def deltas_at(levels: Tensor, y: Tensor, x: Tensor, anchors: Tensor) -> Tensor:
        deltas = torch.empty(len(levels), 4, device=levels.device)
        for level, level_deltas in enumerate(box_deltas):
            here = (levels == level).nonzero(as_tuple=True)[0]
            if len(here):
                by_anchor = level_deltas.view(-1, 4, *level_deltas.shape[1:])  # (A, 4, H, W)
                deltas[here] = by_anchor[anchors[here], :, y[here], x[here]].float()
        return deltas

    return deltas_at


def _topk_above(logits: Tensor, threshold: float, topk: int) -> tuple[Tensor, Tensor]:
    """The logits of a level with scores above the threshold. If more than topk are, those that can be among the topk.

    Args:
        logits: (N,), all of the level.

    Returns:
        Their indices, int64, rising, and their scores, float32.
    """
    # Most logits are far below the threshold. Comparing them with a logit drops them without a sigmoid. That logit is
    # so low that rounding can't lift a score from there above the threshold.
    surely_below = threshold * (1 - 1e-5)
    cut = math.log(surely_below / (1 - surely_below)) if surely_below > 0 else -math.inf
    indices = _at_least(logits, cut)
    scores = logits[indices].float().sigmoid()
    above = scores > threshold
    indices, scores = indices[above], scores[above]
    if len(indices) > topk:
        among = scores >= scores.topk(topk).values[-1]
        indices, scores = indices[among], scores[among]
    return indices, scores


def _at_least(logits: Tensor, cut: float) -> Tensor:
    """The indices of the logits, (N,), that aren't below the cut: int64, rising."""
    if logits.device.type == "cpu":  # NumPy takes a fifth of torch's time
        return torch.from_numpy(np.flatnonzero(logits.float().numpy() >= cut))
    return (logits >= cut).nonzero(as_tuple=True)[0]


def _anchor_boxes(
    cell_anchors: list[Tensor], strides: list[int], levels: Tensor, y: Tensor, x: Tensor, anchors: Tensor
) -> Tensor:
    """The anchors of chosen locations, float32 (N, 4), x0 y0 x1 y1 in pixels of the network's input."""
    anchor_boxes = cell_anchors[0].new_empty(len(levels), 4)
    for level, (level_anchors, stride) in enumerate(zip(cell_anchors, strides, strict=True)):
        here = (levels == level).nonzero(as_tuple=True)[0]
        anchor_boxes[here] = anchors_at(level_anchors[anchors[here]], y[here], x[here], stride)
    return anchor_boxes
