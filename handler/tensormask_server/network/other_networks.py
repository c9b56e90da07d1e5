"""Tells weights of other networks by their entries' names."""

import re
from collections.abc import Collection

# the beginning of names, and whose they are; the first that any name has counts
_MARKS: tuple[tuple[str, str], ...] = (
    (r"roi_heads\.mask_head\.", "a Mask R-CNN"),
    (r"roi_heads\.keypoint_head\.", "a Keypoint R-CNN"),
    (r"roi_heads\.mask_(coarse_head|point_head)\.", "a PointRend"),
    (r"roi_heads\.(mask|keypoint)_predictor\.", "a Mask R-CNN or Keypoint R-CNN of torchvision"),
    (r"roi_heads\.box_predictor\.0\.", "a Cascade R-CNN"),
    (r"backbone\.body\.", "a detector of torchvision"),
    (r"roi_heads\.", "a Faster R-CNN"),
    (r"sem_seg_head\.(predictor|pixel_decoder)\.", "a MaskFormer or Mask2Former"),
    (r"sem_seg_head\.", "a network for semantic segmentation"),
    (r"proposal_generator\.", "a network that only proposes boxes"),
    (r"(bbox_head|roi_head|mask_head)\.", "a detector of MMDetection"),
    (r"image_encoder\.", "Segment Anything"),
    (r"(detr\.)?transformer\.(encoder|decoder)\.|class_embed\.", "a DETR"),
    (r"model\.\d+\.", "a YOLO"),
    (r"(patch_embed|blocks\.0\.attn)\.", "a vision transformer"),
    (r"layer1\.0\.conv1\.|(stem|res2)\.", "a ResNet alone, from which only a training can start"),
    (r"bottom_up\.", "a backbone alone, from which only a training can start"),
)


def other_network(names: Collection[str], own: Collection[str]) -> str | None:
    """What network weights are from, if it isn't a TensorMask.

    Args:
        names: of the weights' entries.
        own: the names of the entries of a TensorMask.

    Returns:
        For people, such as "a Mask R-CNN". None if it may be a TensorMask.
    """
    foreign = [name for name in names if name not in own]
    for pattern, network in _MARKS:
        if any(re.match(pattern, name) for name in foreign):
            return network
    if names and len(foreign) == len(names):
        return "a network without any name of a TensorMask's"
    if all(name.startswith("backbone.") for name in names):
        return "a backbone alone, from which only a training can start"
    return None
