"""A training that starts from a backbone of torchvision's. The backbone is computed here as torchvision does it."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from tensormask_server.checkpoint import CheckpointError
from tensormask_server.detectron2_yaml import ConfigError
from torch import Tensor

from tests.unit.training.small_training import write_config, write_data
from training.network import build_network
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
    network = build_network(load_training_config(config), tmp_path / "resnet50.pth").eval()
    images = torch.randn(1, 3, 64, 96)
    found = network.backbone.bottom_up(images)
    for feature, expected in zip(found.values(), _features(weights, images), strict=True):
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


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
        build_network(load_training_config(config), tmp_path / "resnet50.pth")


def test_a_backbone_of_another_depth_is_refused(tmp_path: Path, config: Path, weights: dict[str, Tensor]) -> None:
    deeper = {**weights, **{name.replace("layer3.5", "layer3.6"): weights[name] for name in weights}}
    torch.save(deeper, tmp_path / "resnet101.pth")
    with pytest.raises(CheckpointError, match=r"res4\.6.* MODEL\.RESNETS\.DEPTH"):
        build_network(load_training_config(config), tmp_path / "resnet101.pth")
