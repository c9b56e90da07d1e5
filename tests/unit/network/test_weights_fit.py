"""Weights of another network are refused by the entry, both shapes, and the key of the configuration that disagrees.

Each case makes the weights of one configuration and loads them into the network of another.
"""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from tensormask_server.model_files.checkpoint import CheckpointError
from tensormask_server.network.loading import load_weights
from tensormask_server.network.tensormask import TensorMask
from torch import Tensor

from tests.unit.small_network import shapes, small_config

BASIC_BLOCKS = {"MODEL.RESNETS.DEPTH": 18, "MODEL.RESNETS.RES2_OUT_CHANNELS": 64}
WIDER_GROUPS = {"MODEL.RESNETS.NUM_GROUPS": 4, "MODEL.RESNETS.WIDTH_PER_GROUP": 2}
HEAD = "MODEL.TENSOR_MASK"
FROM_P3 = {f"{HEAD}.IN_FEATURES": ["p3", "p4", "p5"], "MODEL.ANCHOR_GENERATOR.SIZES": [[16, 24]]}
FROM_RES3 = FROM_P3 | {"MODEL.FPN.IN_FEATURES": ["res3", "res4", "res5"]}
NO_BIPYRAMID = {f"{HEAD}.BIPYRAMID_ON": False}
SIZES = {"MODEL.ANCHOR_GENERATOR.SIZES": [[16, 24]]}
OTHER_SIZES = {"MODEL.ANCHOR_GENERATOR.SIZES": [[16, 28]]}

Changes = Mapping[str, Any]


def weights_of(changes: Changes) -> dict[str, Tensor]:
    return {name: torch.zeros(shape) for name, shape in shapes(changes).items()}


def complaint(weights: Mapping[str, Tensor], config: Changes) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_weights(TensorMask(small_config(config)), weights)
    return str(caught.value)


OF_ANOTHER_SHAPE: list[tuple[Changes, Changes, str, str]] = [
    ({f"{HEAD}.NUM_CLASSES": 7}, {}, "head.cls_score.weight", f"{HEAD}.NUM_CLASSES"),
    ({f"{HEAD}.CLS_CHANNELS": 8}, {}, "head.cls_subnet.0.weight", f"{HEAD}.CLS_CHANNELS"),
    ({f"{HEAD}.BBOX_CHANNELS": 16}, {}, "head.bbox_subnet.0.weight", f"{HEAD}.BBOX_CHANNELS"),
    ({f"{HEAD}.MASK_CHANNELS": 16}, {}, "head.mask_subnet.0.weight", f"{HEAD}.MASK_CHANNELS"),
    ({"MODEL.ANCHOR_GENERATOR.SIZES": [[16]]}, {}, "head.cls_score.weight", "MODEL.ANCHOR_GENERATOR"),
    ({"MODEL.FPN.OUT_CHANNELS": 24}, {}, "backbone.fpn_lateral2.weight", "MODEL.FPN.OUT_CHANNELS"),
    ({"MODEL.RESNETS.STEM_OUT_CHANNELS": 8}, {}, "stem.conv1.weight", "MODEL.RESNETS.STEM_OUT_CHANNELS"),
    ({}, BASIC_BLOCKS, "res2.0.conv1.weight", "DEPTH"),
    (WIDER_GROUPS, {}, "res2.0.conv2.weight", "MODEL.RESNETS.NUM_GROUPS"),
    (
        {"MODEL.RESNETS.WIDTH_PER_GROUP": 4},
        {},
        "res2.0.conv1.weight",
        "MODEL.RESNETS.WIDTH_PER_GROUP",
    ),
    (
        {"MODEL.RESNETS.RES2_OUT_CHANNELS": 16},
        {},
        "res2.0.conv3.weight",
        "MODEL.RESNETS.RES2_OUT_CHANNELS",
    ),
]


@pytest.mark.parametrize(
    ("weights", "config", "entry", "key"), OF_ANOTHER_SHAPE, ids=[each[3] for each in OF_ANOTHER_SHAPE]
)
def test_another_shape_is_told_with_both_and_the_key(weights: Changes, config: Changes, entry: str, key: str) -> None:
    message = complaint(weights_of(weights), config)
    found = re.fullmatch(
        r"the weights' (\S+) has shape (\(.*\)), expected (\(.*\)); most likely (.*) in the .*", message
    )
    assert found is not None, message
    name, *found_and_expected, blamed = found.groups()
    assert name.endswith(entry)
    assert found_and_expected == [str(shapes(weights)[name]), str(shapes(config)[name])]
    assert key in blamed


MISSING: list[tuple[Changes, Changes, str, str]] = [
    ({}, {"MODEL.RESNETS.DEPTH": 101}, "res4.6.conv1.weight", "MODEL.RESNETS.DEPTH"),
    (FROM_RES3, FROM_P3, "backbone.fpn_lateral2.weight", "MODEL.FPN.IN_FEATURES"),
    ({}, {f"{HEAD}.NUM_CONVS": 2}, "head.cls_subnet.2.weight", f"{HEAD}.NUM_CONVS"),
    (SIZES, OTHER_SIZES, "head.mask_pred_07.weight", "MODEL.ANCHOR_GENERATOR.SIZES"),
    (NO_BIPYRAMID, {}, "head.mask_fuse.0.weight", f"{HEAD}.BIPYRAMID_ON"),
    ({"MODEL.MASK_ON": False}, {}, "head.mask_subnet.0.weight", "MODEL.MASK_ON"),
]


@pytest.mark.parametrize(
    ("weights", "config", "entry", "key"), MISSING, ids=[f"{each[3]} for {each[2]}" for each in MISSING]
)
def test_a_missing_entry_is_told_with_its_shape_and_the_key(
    weights: Changes, config: Changes, entry: str, key: str
) -> None:
    message = complaint(weights_of(weights), config)
    found = re.fullmatch(
        r"the weights have no entry (\S+), expected with shape (\(.*\)); most likely (.*) in .*", message
    )
    assert found is not None, message
    name, shape, blamed = found.groups()
    assert name.endswith(entry)
    assert shape == str(shapes(config)[name])
    assert key in blamed


UNKNOWN: list[tuple[Changes, Changes, str, str]] = [
    ({"MODEL.RESNETS.DEPTH": 101}, {}, "res4.6.conv1.weight", "MODEL.RESNETS.DEPTH"),
    (FROM_P3, FROM_RES3, "backbone.fpn_lateral2.weight", "MODEL.FPN.IN_FEATURES"),
    ({f"{HEAD}.NUM_CONVS": 2}, {}, "head.cls_subnet.2.weight", f"{HEAD}.NUM_CONVS"),
    ({}, NO_BIPYRAMID, "head.mask_fuse.0.weight", f"{HEAD}.BIPYRAMID_ON"),
]


@pytest.mark.parametrize(
    ("weights", "config", "entry", "key"), UNKNOWN, ids=[f"{each[3]} for {each[2]}" for each in UNKNOWN]
)
def test_an_entry_without_a_place_is_told_with_its_shape_and_the_key(
    weights: Changes, config: Changes, entry: str, key: str
) -> None:
    message = complaint(weights_of(weights), config)
    found = re.fullmatch(
        r"the weights' (\S+) has shape (\(.*\)), and no place in the network; most likely (.*) in .*", message
    )
    assert found is not None, message
    name, shape, blamed = found.groups()
    assert name.endswith(entry)
    assert shape == str(shapes(weights)[name])
    assert key in blamed


def test_weights_that_fit_are_all_copied() -> None:
    network = TensorMask(small_config())
    weights = {name: torch.full(shape, float(index)) for index, (name, shape) in enumerate(shapes().items(), start=1)}
    load_weights(network, weights)
    entries = network.state_dict()
    assert set(entries) == set(weights)
    assert all(torch.equal(entries[name], weights[name]) for name in entries)


def test_the_mask_branch_may_be_left_over_where_masks_are_off() -> None:
    load_weights(TensorMask(small_config({"MODEL.MASK_ON": False})), weights_of({}))


def test_nothing_is_copied_when_anything_is_wrong() -> None:
    network = TensorMask(small_config())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CheckpointError):
        load_weights(network, weights_of({f"{HEAD}.NUM_CLASSES": 7}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def without(weights: Mapping[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in weights.items() if not name.startswith(prefixes)}


@pytest.mark.parametrize(
    ("names", "network"),
    [
        (["roi_heads.mask_head.deconv.weight", "proposal_generator.rpn_head.conv.weight"], "a Mask R-CNN"),
        (["proposal_generator.rpn_head.conv.weight", "roi_heads.box_predictor.bbox_pred.bias"], "a Faster R-CNN"),
        (["roi_heads.box_predictor.0.bbox_pred.bias"], "a Cascade R-CNN"),
        (["sem_seg_head.predictor.query_feat.weight"], "a MaskFormer or Mask2Former"),
        (["proposal_generator.fcos_head.cls_logits.bias"], "a network that only proposes boxes"),
    ],
)
def test_another_network_of_detectron2_is_named(names: list[str], network: str) -> None:
    """With a backbone and a pyramid as ours."""
    weights = without(weights_of({}), "head.") | {name: torch.zeros(1) for name in names}
    message = complaint(weights, {})
    assert message.startswith(f"the weights are those of {network} (entries ")
    assert names[0] in message


@pytest.mark.parametrize(
    ("names", "network"),
    [
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], "a ResNet alone"),
        (["stem.conv1.weight", "res2.0.conv1.weight"], "a ResNet alone"),
        (["model.0.conv.weight", "model.22.dfl.conv.weight"], "a YOLO"),
        (["class_embed.weight", "transformer.encoder.layers.0.norm1.bias"], "a DETR"),
        (["backbone.body.conv1.weight", "rpn.head.conv.weight"], "a detector of torchvision"),
        (["wte.weight"], "a network without any name of a TensorMask's"),
    ],
)
def test_another_network_is_named(names: list[str], network: str) -> None:
    message = complaint({name: torch.zeros(1) for name in names}, {})
    assert message.startswith(f"the weights are those of {network}")
    assert message.endswith("; expected a trained TensorMask's")


def test_a_backbone_alone_is_named() -> None:
    message = complaint(without(weights_of({}), "head."), {})
    assert message.startswith("the weights are those of a backbone alone, from which only a training can start; ")


def test_weights_of_a_retinanet_are_refused_for_their_lack_of_masks() -> None:
    """Its entries have our names, and its boxes as many channels as its classes."""
    weights = without(weights_of({f"{HEAD}.BBOX_CHANNELS": 16}), "head.mask_")
    assert "no entry head.mask_subnet.0.weight" in complaint(weights, {})
    assert "MODEL.MASK_ON (unless the weights are a RetinaNet's)" in complaint(weights, {})


@pytest.mark.parametrize("norms", [("GN", "BN"), ("BN", "GN")])
def test_weights_with_another_norm_in_the_backbone_are_refused_with_its_key(norms: tuple[str, str]) -> None:
    wide = {"DEPTH": 18, "STEM_OUT_CHANNELS": 32, "RES2_OUT_CHANNELS": 64}
    weights, config = ({"MODEL.RESNETS": {**wide, "NORM": norm}} for norm in norms)
    assert "most likely MODEL.RESNETS.NORM in" in complaint(weights_of(weights), config)


@pytest.mark.parametrize("norms", [("GN", ""), ("", "GN"), ("BN", "GN"), ("GN", "BN")])
def test_weights_with_another_norm_in_the_pyramid_are_refused_with_its_key(norms: tuple[str, str]) -> None:
    weights, config = ({"MODEL.FPN.NORM": norm, "MODEL.FPN.OUT_CHANNELS": 32} for norm in norms)
    assert "most likely MODEL.FPN.NORM in" in complaint(weights_of(weights), config)
