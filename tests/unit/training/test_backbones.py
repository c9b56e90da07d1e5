"""A training that starts from a backbone of another source. Its features are computed here as torchvision does it."""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import yaml
from tensormask_server.model_files.checkpoint import CheckpointError
from tensormask_server.model_files.key_reader import ConfigError
from tensormask_server.network.tensormask import TensorMask
from torch import Tensor

from tests.unit.training.small_training import write_config, write_data
from training.network import network_to_train
from training.settings import load_training_config
from training.trainer import Run, train

BLOCKS = (3, 4, 6, 3)
STEM, WIDTH, EXPANSION = 8, 8, 4  # of small_training's network


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path / "config.yaml", MAX_ITER=1)
    tree = yaml.safe_load(path.read_text())
    tree["INPUT"]["FORMAT"] = "RGB"
    tree["MODEL"] |= {
        "PIXEL_MEAN": [123.675, 116.28, 103.53],
        "PIXEL_STD": [58.395, 57.12, 57.375],
        "WEIGHTS": "detectron2://ImageNetPretrained/torchvision/R-50.pkl",
    }
    tree["MODEL"]["RESNETS"]["STRIDE_IN_1X1"] = False
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """The entries of a narrow ResNet-50, as `torchvision.models.resnet50().state_dict()` names them."""
    torch.manual_seed(0)
    entries: dict[str, Tensor] = {"fc.weight": torch.randn(10, 256), "fc.bias": torch.randn(10)}

    def add(convolution: str, norm: str, *shape: int) -> None:
        entries[f"{convolution}.weight"] = torch.randn(shape) * (2 / math.prod(shape[1:])) ** 0.5
        entries[f"{norm}.weight"] = torch.rand(shape[0]) + 0.5
        entries[f"{norm}.bias"] = torch.randn(shape[0])
        entries[f"{norm}.running_mean"] = torch.randn(shape[0])
        entries[f"{norm}.running_var"] = torch.rand(shape[0]) + 0.5
        entries[f"{norm}.num_batches_tracked"] = torch.tensor(7)

    add("conv1", "bn1", STEM, 3, 7, 7)
    inputs = STEM
    for stage, blocks in enumerate(BLOCKS):
        middle = WIDTH * 2**stage
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            add(f"{name}.conv1", f"{name}.bn1", middle, inputs, 1, 1)
            add(f"{name}.conv2", f"{name}.bn2", middle, middle, 3, 3)
            add(f"{name}.conv3", f"{name}.bn3", EXPANSION * middle, middle, 1, 1)
            if block == 0:
                add(f"{name}.downsample.0", f"{name}.downsample.1", EXPANSION * middle, inputs, 1, 1)
            inputs = EXPANSION * middle
    return entries


def _features(weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """layer1 … layer4 of torchvision's ResNet-50, whose 3×3 convolutions stride."""

    def normed(x: Tensor, convolution: str, norm: str, stride: int = 1) -> Tensor:
        kernel = weights[f"{convolution}.weight"]
        y = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        mean, variance, scale, shift = (
            weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, variance, scale, shift)

    x = F.max_pool2d(F.relu(normed(images, "conv1", "bn1", 2)), 3, 2, 1)
    features = []
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage and not block else 1
            y = F.relu(normed(x, f"{name}.conv1", f"{name}.bn1"))
            y = F.relu(normed(y, f"{name}.conv2", f"{name}.bn2", stride))
            y = normed(y, f"{name}.conv3", f"{name}.bn3")
            if block == 0:
                x = normed(x, f"{name}.downsample.0", f"{name}.downsample.1", stride)
            x = F.relu(x + y)
        features.append(x)
    return features


def test_the_backbone_computes_what_torchvisions_does(tmp_path: Path, config: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "resnet50.pth")
    network = network_to_train(load_training_config(config), tmp_path / "resnet50.pth").eval()
    _assert_computes(network, weights)


def test_a_training_starts_from_it(tmp_path: Path, config: Path, weights: dict[str, Tensor]) -> None:
    torch.save(weights, tmp_path / "resnet50.pth")
    data = write_data(tmp_path / "data")
    train(load_training_config(config), Run(data, tmp_path / "out", weights=tmp_path / "resnet50.pth", workers=0))
    assert (tmp_path / "out" / "weights.pkl").exists()


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("INPUT.FORMAT", "BGR", "set INPUT.FORMAT RGB$"),
        ("MODEL.PIXEL_MEAN", [103.53, 116.28, 123.675], r"set MODEL.PIXEL_MEAN \[123.675, 116.28, 103.53\]$"),
        ("MODEL.PIXEL_STD", [1.0, 1.0, 1.0], r"set MODEL.PIXEL_STD \[58.395, 57.12, 57.375\]$"),
        ("MODEL.RESNETS.STRIDE_IN_1X1", True, "set MODEL.RESNETS.STRIDE_IN_1X1 False$"),
    ],
)
def test_settings_that_do_not_suit_it_are_named(
    tmp_path: Path, config: Path, weights: dict[str, Tensor], key: str, value: object, named: str
) -> None:
    torch.save(weights, tmp_path / "resnet50.pth")
    tree = yaml.safe_load(config.read_text())
    *sections, last = key.split(".")
    section = tree
    for name in sections:
        section = section[name]
    section[last] = value
    config.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=named):
        network_to_train(load_training_config(config), tmp_path / "resnet50.pth")


def test_a_backbone_of_another_depth_is_refused(tmp_path: Path, config: Path, weights: dict[str, Tensor]) -> None:
    deeper = {**weights, **{name.replace("layer3.5", "layer3.6"): weights[name] for name in weights}}
    torch.save(deeper, tmp_path / "resnet101.pth")
    with pytest.raises(CheckpointError, match=r"res4\.6.* MODEL\.RESNETS\.DEPTH"):
        network_to_train(load_training_config(config), tmp_path / "resnet101.pth")


def test_a_file_of_caffe2_gives_the_same_backbone(tmp_path: Path, config: Path, weights: dict[str, Tensor]) -> None:
    _set(config, "INPUT.FORMAT", "BGR")
    _write_caffe2(tmp_path / "R-50.pkl", weights)
    said: list[str] = []
    network = network_to_train(load_training_config(config), tmp_path / "R-50.pkl", said.append).eval()
    _assert_computes(network, weights)
    assert said == [
        f"start weights: {tmp_path / 'R-50.pkl'}, of a ResNet or ResNeXt of Caffe2\n"
        "  taken: backbone.bottom_up (265)\n"
        "  start from random values: backbone.fpn_lateral (8), backbone.fpn_output (8), backbone.top_block (4), "
        "head.bbox_pred (2), head.bbox_subnet (2), head.cls_score (2), head.cls_subnet (2), head.mask_fuse (2), "
        "head.mask_pred_ (4), head.mask_subnet (2)\n"
        "  in the file and not used: fc1000_w, fc1000_b"
    ]


def test_a_file_of_caffe2_wants_bgr(tmp_path: Path, config: Path, weights: dict[str, Tensor]) -> None:
    _write_caffe2(tmp_path / "R-50.pkl", weights)
    with pytest.raises(ConfigError, match=r"Caffe2's networks .*; set INPUT\.FORMAT BGR$"):
        network_to_train(load_training_config(config), tmp_path / "R-50.pkl")


def _write_caffe2(path: Path, weights: dict[str, Tensor]) -> None:
    """Norms that only scale and shift, as in the published ImageNet files, with their solver's entries."""
    branches = {"conv1": "branch2a", "conv2": "branch2b", "conv3": "branch2c", "downsample.0": "branch1"}
    norms = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "downsample.0": "downsample.1"}
    blobs: dict[str, np.ndarray] = {"fc1000_w": np.zeros((10, 256)), "fc1000_b": np.zeros(10), "lr": np.ones(1)}
    places = [("conv1", "res_conv1", "bn1", "conv1")]
    for stage, blocks in enumerate(BLOCKS):
        for block in range(blocks):
            for convolution, branch in branches.items():
                name = f"layer{stage + 1}.{block}.{convolution}"
                if f"{name}.weight" in weights:
                    place = f"res{stage + 2}_{block}_{branch}"
                    places.append((name, place, f"layer{stage + 1}.{block}.{norms[convolution]}", place))
    for name, norm_place, norm, place in places:
        scale = weights[f"{norm}.weight"] / (weights[f"{norm}.running_var"] + 1e-5).sqrt()
        blobs[f"{place}_w"] = weights[f"{name}.weight"].numpy()
        blobs[f"{place}_w_momentum"] = np.zeros(3)
        blobs[f"{norm_place}_bn_s"] = scale.numpy()
        blobs[f"{norm_place}_bn_b"] = (weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * scale).numpy()
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))


def test_a_converted_file_of_torchvision_gives_the_same_backbone(
    tmp_path: Path, config: Path, weights: dict[str, Tensor]
) -> None:
    """Named as detectron2's tool names them, with its mark."""
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(_converted(weights)))
    network = network_to_train(load_training_config(config), tmp_path / "R-50.pkl").eval()
    _assert_computes(network, weights)
    _set(config, "INPUT.FORMAT", "BGR")
    with pytest.raises(ConfigError, match=r"set INPUT\.FORMAT RGB$"):
        network_to_train(load_training_config(config), tmp_path / "R-50.pkl")


def test_a_mask_r_cnn_gives_its_backbone_and_what_fits_of_its_pyramid(
    tmp_path: Path, config: Path, weights: dict[str, Tensor]
) -> None:
    bottom_up = _converted(weights)["model"]
    entries = {f"backbone.bottom_up.{name}": array for name, array in bottom_up.items() if "fc." not in name}
    lateral = torch.randn(32, 32, 1, 1).numpy()
    entries |= {
        "backbone.fpn_lateral2.weight": lateral,
        "backbone.fpn_lateral3.weight": np.zeros((64, 64, 1, 1), np.float32),
        "proposal_generator.rpn_head.conv.weight": np.zeros((8, 8, 3, 3), np.float32),
        "roi_heads.box_head.fc1.weight": np.zeros((8, 8), np.float32),
    }
    path = tmp_path / "model_final_maskrcnn.pkl"
    path.write_bytes(pickle.dumps({"model": entries, "__author__": "Detectron2 Model Zoo"}))
    said: list[str] = []
    network = network_to_train(load_training_config(config), path, said.append).eval()
    _assert_computes(network, weights)
    np.testing.assert_array_equal(network.state_dict()["backbone.fpn_lateral2.weight"], lateral)
    assert "taken: backbone.bottom_up (265), backbone.fpn_lateral (1)\n" in said[0]
    assert "backbone.fpn_lateral3.weight" in said[0].splitlines()[-1]


def test_the_training_says_what_it_takes(
    tmp_path: Path, config: Path, weights: dict[str, Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(weights, tmp_path / "resnet50.pth")
    data = write_data(tmp_path / "data")
    train(load_training_config(config), Run(data, tmp_path / "out", weights=tmp_path / "resnet50.pth", workers=0))
    before_the_bar, _, _ = capsys.readouterr().err.partition("0/1")
    assert "start weights: " in before_the_bar and "taken: backbone.bottom_up (265)" in before_the_bar


def _converted(weights: dict[str, Tensor]) -> dict[str, Any]:
    model = {}
    for name, tensor in weights.items():
        renamed = name if "layer" in name else f"stem.{name}"
        for stage in (4, 3, 2, 1):
            renamed = renamed.replace(f"layer{stage}", f"res{stage + 1}")
        for number in (1, 2, 3):
            renamed = renamed.replace(f"bn{number}", f"conv{number}.norm")
        renamed = renamed.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
        model[renamed] = tensor.numpy()
    return {"model": model, "__author__": "torchvision", "matching_heuristics": True}


def _assert_computes(network: TensorMask, weights: dict[str, Tensor]) -> None:
    images = torch.randn(1, 3, 64, 96)
    features = network.backbone.bottom_up(images)
    for feature, expected in zip(features.values(), _features(weights, images), strict=True):
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def _set(config: Path, key: str, value: object) -> None:
    tree = yaml.safe_load(config.read_text())
    section, name = key.split(".")
    tree[section][name] = value
    config.write_text(yaml.safe_dump(tree))
