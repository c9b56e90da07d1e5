"""The networks that are measured: the published one with synthetic weights, and the demo's."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tensormask_server import Predictor
from tensormask_server.model_files.checkpoint import load_checkpoint
from tensormask_server.model_files.detectron2_yaml import load_merged_yaml
from tensormask_server.network.config import load_config, parse_config
from tensormask_server.network.loading import build_network, load_weights
from tensormask_server.network.tensormask import TensorMask
from tensormask_server.prediction.precision import DTYPES

from reference.synthetic_weights import synthetic_state

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "demo" / "model"


def published_network(min_size: int) -> TensorMask:
    """R50 at its published size, with weights that find something of many classes on every level.

    Args:
        min_size: INPUT.MIN_SIZE_TEST, the shorter side that images are resized to; 0: they aren't.
    """
    tree = load_merged_yaml(ROOT / "configs" / "tensormask_R_50_FPN_1x.yaml")
    tree["INPUT"] = {**tree.get("INPUT", {}), "MIN_SIZE_TEST": min_size}
    network = TensorMask(parse_config(tree))
    shapes = {name: tuple(entry.shape) for name, entry in network.state_dict().items()}
    load_weights(network, {name: torch.from_numpy(array) for name, array in synthetic_state(shapes).items()})
    return network


def published_predictor(
    min_size: int, precision: str = "float32", device: str = "cpu", winograd: bool = True, fused: bool = True
) -> Predictor:
    return Predictor(published_network(min_size), torch.device(device), DTYPES[precision], winograd, fused)


def demo_network() -> TensorMask:
    return build_network(load_config(DEMO / "config.yaml"), load_checkpoint(DEMO / "weights.pkl"))


def demo_predictor(
    precision: str = "float32", device: str = "cpu", winograd: bool = True, fused: bool = True
) -> Predictor:
    return Predictor(demo_network(), torch.device(device), DTYPES[precision], winograd, fused)


def image_of(height: int, width: int) -> np.ndarray:
    """The demo's composed image at another size, uint8 (H, W, 3), RGB."""
    with Image.open(ROOT / "demo" / "images" / "composed.jpg") as image:
        return np.array(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
