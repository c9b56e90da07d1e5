"""Backbones under Caffe2's, torchvision's and detectron2's names get the names of our network."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensormask_server.model_files.checkpoint import CheckpointError
from tensormask_server.model_files.starting_weights import BOTTOM_UP, WeightsOf, load_starting_weights
from tensormask_server.network.norms import FrozenBatchNorm
from tensormask_server.network.tensormask import TensorMask

from tests.unit.small_network import small_config, small_weights

SMALL = small_weights()
BACKBONE = {name: array for name, array in SMALL.items() if name.startswith(BOTTOM_UP)}
CONVOLUTIONS = {"conv1": "2a", "conv2": "2b", "conv3": "2c", "shortcut": "1"}


def written(path: Path, content: Any) -> Path:
    path.write_bytes(pickle.dumps(content, 2))
    return path


def caffe2_name(name: str) -> str:
    """Of one of our entries, as Caffe2 calls it."""
    stage, *rest = name.removeprefix(BOTTOM_UP).removesuffix(".weight").removesuffix(".bias").split(".")
    part = "_w" if rest[-1] != "norm" else "_bn_s" if name.endswith("weight") else "_bn_b"
    if stage == "stem":
        return "conv1_w" if part == "_w" else f"res_conv1{part}"
    return f"{stage}_{rest[0]}_branch{CONVOLUTIONS[rest[1]]}{part}"


def torchvision_name(name: str) -> str:
    stage, *rest = name.removeprefix(BOTTOM_UP).split(".")
    if stage == "stem":
        return ".".join(["bn1", rest[-1]] if "norm" in rest else rest)
    if rest[1] == "shortcut":
        rest[1:] = ["downsample", "1" if "norm" in rest else "0", rest[-1]]
    elif rest[2] == "norm":
        rest[1:3] = [f"bn{rest[1][-1]}"]
    return ".".join([f"layer{int(stage[-1]) - 1}", *rest])


def test_a_caffe2_file_is_read(tmp_path: Path) -> None:
    affine = {name: array for name, array in BACKBONE.items() if "running" not in name}
    blobs = {caffe2_name(name): array for name, array in affine.items()}
    assert {"conv1_w", "res_conv1_bn_s", "res2_0_branch1_w", "res4_5_branch2c_bn_b"} <= blobs.keys()
    solver = {"conv1_w_momentum": np.ones(3), "lr": np.float32(0.1), "model_iter": np.int64(3)}
    classifier = {"fc1000_w": np.ones((5, 4)), "fc1000_b": np.ones(5)}
    found = load_starting_weights(written(tmp_path / "R-50.pkl", {"blobs": blobs | solver | classifier}))
    assert found.origin is WeightsOf.CAFFE2
    assert found.left_out == ("fc1000_w", "fc1000_b")
    assert found.entries.keys() == BACKBONE.keys()
    assert all(np.array_equal(found.entries[name], array) for name, array in affine.items())


def test_norms_of_caffe2_only_scale_and_shift(tmp_path: Path) -> None:
    blobs = {"conv1_w": np.ones((2, 3, 7, 7)), "res_conv1_bn_s": np.array([2.0, 0.5]), "res_conv1_bn_b": np.ones(2)}
    entries = load_starting_weights(written(tmp_path / "R-50.pkl", {"blobs": blobs})).entries
    norm = FrozenBatchNorm(2)
    prefix = f"{BOTTOM_UP}stem.conv1.norm."
    norm.load_state_dict({name.removeprefix(prefix): each for name, each in entries.items() if "norm" in name})
    x = torch.tensor([3.0, -4.0])[None, :, None, None]
    torch.testing.assert_close(norm(x).flatten(), torch.tensor([7.0, -1.0]))


def test_a_group_norm_of_caffe2_has_no_statistics(tmp_path: Path) -> None:
    blobs = {"conv1_w": np.ones((2, 3, 7, 7)), "conv1_gn_s": np.ones(2), "res2_0_branch2a_gn_b": np.ones(2)}
    entries = load_starting_weights(written(tmp_path / "R-50-GN.pkl", {"blobs": blobs})).entries
    names = ["stem.conv1.weight", "stem.conv1.norm.weight", "res2.0.conv1.norm.bias"]
    assert list(entries) == [BOTTOM_UP + name for name in names]


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_torchvision_file_is_read(prefix: str, tmp_path: Path) -> None:
    entries = {prefix + torchvision_name(name): torch.from_numpy(array) for name, array in BACKBONE.items()}
    assert {f"{prefix}bn1.running_var", f"{prefix}layer3.5.bn3.weight", f"{prefix}layer1.0.downsample.0.weight"} <= {
        *entries
    }
    torch.save({**entries, f"{prefix}fc.weight": torch.ones(5, 4)}, tmp_path / "resnet50.pth")
    found = load_starting_weights(tmp_path / "resnet50.pth")
    assert found.origin is WeightsOf.TORCHVISION
    assert found.left_out == ("fc.weight",)
    assert found.entries.keys() == BACKBONE.keys()


def test_a_converted_file_is_read(tmp_path: Path) -> None:
    """As detectron2's convert-torchvision-to-d2.py writes it: its names, without what stands before the backbone."""
    model = {name.removeprefix(BOTTOM_UP): array for name, array in BACKBONE.items()} | {"stem.fc.weight": np.ones(3)}
    content = {"model": model, "__author__": "torchvision", "matching_heuristics": True}
    found = load_starting_weights(written(tmp_path / "R-50.pkl", content))
    assert found.origin is WeightsOf.TORCHVISION
    assert found.left_out == ("stem.fc.weight",)
    assert found.entries.keys() == BACKBONE.keys()
    other = load_starting_weights(written(tmp_path / "R-50.pkl", content | {"__author__": "someone"}))
    assert other.origin is WeightsOf.RESNET


def test_the_backbone_of_a_mask_rcnn_is_read(tmp_path: Path) -> None:
    pyramid = {"backbone.fpn_lateral2.weight": SMALL["backbone.fpn_lateral2.weight"]}
    others = {"roi_heads.mask_head.deconv.weight": np.ones(3), "proposal_generator.rpn_head.conv.weight": np.ones(3)}
    found = load_starting_weights(written(tmp_path / "mask_rcnn.pkl", {"model": BACKBONE | pyramid | others}))
    assert found.origin is WeightsOf.DETECTRON2
    assert found.left_out == tuple(others)
    assert found.entries.keys() == BACKBONE.keys() | pyramid.keys()


def test_a_whole_network_is_read_with_all_entries(tmp_path: Path) -> None:
    found = load_starting_weights(written(tmp_path / "tensormask.pkl", {"model": SMALL}))
    assert found.origin is WeightsOf.NETWORK
    assert found.left_out == ()
    TensorMask(small_config()).load_state_dict(found.entries)


def test_a_file_without_a_backbone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"other\.pkl has no entries of a backbone: its names begin with a\.b; exp"
    ):
        load_starting_weights(written(tmp_path / "other.pkl", {"model": {"a.b": np.ones(2)}}))
