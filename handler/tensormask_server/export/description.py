"""What the inputs and outputs of an exported graph mean, in words that go into its file."""

from tensormask_server.network.before_selection import ConvolutionMaps, map_names
from tensormask_server.network.tensormask import TensorMask

DOCUMENTED = "docs/NETWORK.md of tensormask-segmentation-server specifies what follows on the graph"


def described(network: TensorMask) -> dict[str, str]:
    """By the name of an input or output what it means."""
    config, head = network.config, network.head
    about = {
        "class_logits": "channel a·K + k has the logit of class k at anchor a; "
        f"A = {config.anchors.num_per_cell}, K = {config.head.num_classes}",
        "box_deltas": "channel a·4 + j has the j-th delta of anchor a, with the weights "
        f"{config.detection.bbox_reg_weights}",
        "mask_towers": "the features that masks are predicted from",
    }
    strides = dict(zip(config.head.in_features, network.strides, strict=True))
    outputs = {}
    for name in map_names(head.config):
        kind, _, level = name.rpartition("_")
        outputs[name] = f"float32 (images, channels, H/{strides[level]}, W/{strides[level]}), rounded up: {about[kind]}"
    mean, std = ([round(value, 4) for value in values] for values in (config.input.pixel_mean, config.input.pixel_std))
    images = (
        f"float32 (images, 3, H, W), channels {config.input.format}, each pixel of 0 to 255 less {mean}, over {std}, "
        f"then padded with zeros at the right and the bottom; H and W are multiples of {network.stride}"
    )
    return {"images": images, **outputs}


def axes(name: str) -> tuple[str, str, str, str]:
    """The names of the axes of an input or output; "" where the number is fixed."""
    if name == "images":
        return "images", "", "H", "W"
    kind, _, level = name.rpartition("_")
    assert kind in ConvolutionMaps._fields
    return "images", "", f"H_{level}", f"W_{level}"
