"""The two ways in which a GPU makes the masks of a batch: by a few kernels of our own, or by operations of torch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tensormask_server.network.batched_masks import BatchedMasks
from tensormask_server.network.batched_selection import HostCandidates
from tensormask_server.network.head import TensorMaskHead
from tensormask_server.network.kernels import Kernels, kernels_for
from tensormask_server.network.mask_kernels import SOURCE as MASK_SOURCE
from tensormask_server.network.mask_kernels import KernelMasks, has_kernels
from tensormask_server.network.stored_numbers import stored_option
from tensormask_server.prediction.batched_pasting import Stretching, paste_batch
from tensormask_server.prediction.image_masks import MaskCrop
from tensormask_server.prediction.pasting_kernels import OPTIONS as PASTING_OPTIONS
from tensormask_server.prediction.pasting_kernels import SOURCE as PASTING_SOURCE
from tensormask_server.prediction.pasting_kernels import lowest_on, paste_by_kernels

# from the mask towers, per level (N, MASK_CHANNELS, H, W), the detections of each of the N images, and where their
# masks go, to the masks, in the order of the detections
MaskPath = Callable[[Sequence[Tensor], Sequence[HostCandidates], Stretching], list[MaskCrop]]


def mask_path(head: TensorMaskHead, device: torch.device, dtype: torch.dtype) -> MaskPath:
    """By kernels where that's possible.

    Args:
        dtype: of the mask towers.
    """
    if has_kernels(head):
        of_masks = kernels_for(MASK_SOURCE, device, (stored_option(dtype),))
        of_pasting = kernels_for(PASTING_SOURCE, device, PASTING_OPTIONS)
        if of_masks is not None and of_pasting is not None:
            return path_by_kernels(KernelMasks(head, of_masks), of_pasting)
    return path_by_operations(BatchedMasks(head))


def path_by_operations(masks: BatchedMasks) -> MaskPath:
    return lambda towers, detections, stretching: paste_batch(masks(towers, detections), stretching)


def path_by_kernels(masks: KernelMasks, of_pasting: Kernels) -> MaskPath:
    """
    Args:
        of_pasting: of PASTING_SOURCE.
    """

    def path(towers: Sequence[Tensor], detections: Sequence[HostCandidates], stretching: Stretching) -> list[MaskCrop]:
        if not any(map(len, detections)):
            return []
        flat = masks(towers, detections, lowest_on(stretching.thresholds))
        return paste_by_kernels(flat, stretching, of_pasting)

    return path
