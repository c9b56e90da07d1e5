"""Weights for a network that nobody trained: the same on every machine, and wrong about every picture."""

import pickle
from pathlib import Path

from tensormask_server.config import load_config
from tensormask_server.network.tensormask import TensorMask

from demo.synthetic_weights import synthetic_state


def write_synthetic_weights(config: Path, weights: Path, seed: int = 0) -> None:
    """A detectron2 .pkl of random weights that fits the configuration, scaled so that some things are "found"."""
    network = TensorMask(load_config(config))
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    content = {"model": synthetic_state(shapes, seed), "__author__": "tensormask-segmentation-server, synthetic"}
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(pickle.dumps(content))
