"""ResNets of every depth, with and without groups and dilation, and the pyramid on them.

They are compared with docs/NETWORK.md, section 4, written out with plain functions on the named weights.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensormask_server.network.config import TensorMaskConfig
from tensormask_server.network.norms import fold_norms
from tensormask_server.network.resnet import ResNetConfig
from torch import Tensor

from tests.unit.small_network import shapes, small_network

NUM_BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
STAGES = ["res2", "res3", "res4", "res5"]
PYRAMID = ["p2", "p3", "p4", "p5", "p6", "p7"]

Weights = Mapping[str, Tensor]


def normed(x: Tensor, weights: Weights, name: str, **options: int) -> Tensor:
    """A convolution and its norm; without fixed statistics those of each image's 32 groups of channels."""
    weight, bias = (weights[f"{name}.norm.{each}"][:, None, None] for each in ("weight", "bias"))
    y = F.conv2d(x, weights[f"{name}.weight"], **options)
    if f"{name}.norm.running_mean" in weights:
        mean, var = (weights[f"{name}.norm.running_{each}"][:, None, None] for each in ("mean", "var"))
    else:
        groups = y.unflatten(1, (32, -1))  # (N, 32, C/32, H, W)
        mean, var = (
            each(groups, dim=(2, 3, 4), keepdim=True).expand_as(groups).flatten(1, 2)
            for each in (torch.mean, partial(torch.var, correction=0))
        )
    return (y - mean) / (var + 1e-5).sqrt() * weight + bias


def resnet(x: Tensor, weights: Weights, config: TensorMaskConfig) -> dict[str, Tensor]:
    options = config.backbone
    assert isinstance(options, ResNetConfig)
    x = F.max_pool2d(normed(x, weights, "backbone.bottom_up.stem.conv1", stride=2, padding=3).relu(), 3, 2, 1)
    features = {}
    for stage, num_blocks in zip(STAGES, NUM_BLOCKS[options.depth], strict=True):
        dilation = options.res5_dilation if stage == "res5" else 1
        for block in range(num_blocks):
            name = f"backbone.bottom_up.{stage}.{block}"
            stride = 2 if block == 0 and stage != "res2" and dilation == 1 else 1
            shortcut = x
            if f"{name}.shortcut.weight" in weights:
                shortcut = normed(x, weights, f"{name}.shortcut", stride=stride)
            if options.depth < 50:
                x = normed(x, weights, f"{name}.conv1", stride=stride, padding=1).relu()
                x = normed(x, weights, f"{name}.conv2", padding=1)
            else:
                first, second = (stride, 1) if options.stride_in_1x1 else (1, stride)
                x = normed(x, weights, f"{name}.conv1", stride=first).relu()
                groups = options.num_groups
                x = normed(
                    x, weights, f"{name}.conv2", stride=second, padding=dilation, dilation=dilation, groups=groups
                ).relu()
                x = normed(x, weights, f"{name}.conv3")
            x = (x + shortcut).relu()
        features[stage] = x
    return features


def pyramid(res: Mapping[str, Tensor], weights: Weights, config: TensorMaskConfig) -> dict[str, Tensor]:
    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = weights[f"backbone.{name}.weight"]
        if f"backbone.{name}.norm.weight" in weights:
            return normed(x, weights, f"backbone.{name}", padding=weight.shape[-1] // 2)
        return F.conv2d(x, weight, weights[f"backbone.{name}.bias"], stride, padding=weight.shape[-1] // 2)

    levels = {}
    inner = None
    for stage in reversed(config.fpn.in_features):
        lateral = conv(res[stage], f"fpn_lateral{stage[3:]}")
        if inner is not None:
            lateral = lateral + inner.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            lateral = lateral / 2 if config.fpn.fuse_type == "avg" else lateral
        inner = lateral
        levels[f"p{stage[3:]}"] = conv(inner, f"fpn_output{stage[3:]}")
    last = int(config.fpn.in_features[-1][3:])
    levels[f"p{last + 1}"] = conv(res["res5"], "top_block.p6", stride=2)
    levels[f"p{last + 2}"] = conv(levels[f"p{last + 1}"].relu(), "top_block.p7", stride=2)
    return levels


def bottlenecks(depth: int = 50, **options: Any) -> dict[str, Any]:
    narrow = {"STEM_OUT_CHANNELS": 8, "RES2_OUT_CHANNELS": 16, "WIDTH_PER_GROUP": 4}
    return {"MODEL.RESNETS": {"DEPTH": depth, **narrow, **options}}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"MODEL.RESNETS": {"DEPTH": 34, "RES2_OUT_CHANNELS": 64}}, id="34"),
        pytest.param(bottlenecks(50), id="50"),
        pytest.param(bottlenecks(50, STRIDE_IN_1X1=False), id="50, stride in the 3×3"),
        pytest.param(bottlenecks(50, NUM_GROUPS=4, STRIDE_IN_1X1=False), id="50, 4 groups"),
        pytest.param(bottlenecks(101, NUM_GROUPS=2), id="101, 2 groups"),
        pytest.param(bottlenecks(152), id="152"),
        pytest.param({"MODEL.FPN.FUSE_TYPE": "sum"}, id="50, fused by sum"),
        pytest.param(
            {
                **bottlenecks(50, RES5_DILATION=2),
                "MODEL.FPN.IN_FEATURES": STAGES[:3],
                "MODEL.TENSOR_MASK.IN_FEATURES": PYRAMID[:5],
                "MODEL.ANCHOR_GENERATOR.SIZES": [[16]],
            },
            id="50, dilated res5",
        ),
        pytest.param(
            {
                "MODEL.FPN.IN_FEATURES": STAGES[1:],
                "MODEL.TENSOR_MASK.IN_FEATURES": PYRAMID[1:],
                "MODEL.ANCHOR_GENERATOR.SIZES": [[16]],
            },
            id="50, from res3",
        ),
        pytest.param(
            {
                "MODEL.RESNETS": {"NORM": "GN", "STEM_OUT_CHANNELS": 32, "RES2_OUT_CHANNELS": 64},
                "MODEL.RESNETS.WIDTH_PER_GROUP": 32,
            },
            id="50, groups of channels",
        ),
        pytest.param(
            {"MODEL.RESNETS": {"NORM": "GN", "DEPTH": 18, "STEM_OUT_CHANNELS": 32, "RES2_OUT_CHANNELS": 64}},
            id="18, groups of channels",
        ),
        pytest.param({"MODEL.FPN.NORM": "GN", "MODEL.FPN.OUT_CHANNELS": 32}, id="groups of channels in the pyramid"),
        pytest.param({"MODEL.FPN.NORM": "BN"}, id="fixed statistics in the pyramid"),
    ],
)
@torch.no_grad()
def test_the_pyramid_is_its_definition(changes: Mapping[str, Any]) -> None:
    """In float64; with the norms as they are, and folded into the convolutions."""
    network = small_network(changes).double()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    images = 50 * torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = pyramid(resnet(images, weights, network.config), weights, network.config)
    features = network.backbone(images)
    fold_norms(network)
    features_folded = network.backbone(images)
    assert list(features) == list(features_folded) == sorted(expected)
    for name in features:
        stride = 2 ** int(name[1:])
        assert features[name].shape == (2, network.config.fpn.out_channels, -(-64 // stride), -(-96 // stride))
        torch.testing.assert_close(features[name], expected[name], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(features_folded[name], expected[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_groups_leave_a_group_of_inputs_to_each_output(depth: int) -> None:
    entries = shapes(bottlenecks(depth, NUM_GROUPS=4))
    assert entries["backbone.bottom_up.res2.0.conv2.weight"] == (16, 4, 3, 3)
    assert entries["backbone.bottom_up.res5.0.conv2.weight"] == (128, 32, 3, 3)
    assert sum("conv2.weight" in name for name in entries) == sum(NUM_BLOCKS[depth])
