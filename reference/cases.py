"""The reference's answers: eight networks with synthetic weights, and what detectron2's TensorMask found with them."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tensormask_server import Detections

from reference.synthetic_weights import synthetic_state

FOLDER = Path(__file__).parent / "networks"
CASES = tuple(sorted(path.name for path in FOLDER.iterdir()))


@dataclass(frozen=True)
class Case:
    """One network, one image, and what the reference found on it."""

    config: Path
    shapes: dict[str, tuple[int, ...]]  # of the weights, by their names
    seed: int  # of the weights
    image: np.ndarray  # uint8 (H, W, 3), RGB
    expected: Detections


def load_case(name: str) -> Case:
    folder = FOLDER / name
    expected = np.load(folder / "expected.npz")
    image = expected["image"]
    masks = None
    if "masks_packed" in expected:
        masks = np.unpackbits(expected["masks_packed"], axis=2, count=image.shape[1]).astype(bool)
    return Case(
        config=folder / "config.yaml",
        shapes={entry: tuple(shape) for entry, shape in json.loads((folder / "shapes.json").read_text()).items()},
        seed=int(expected["seed"]),
        image=image,
        expected=Detections.of_masks(expected["boxes"], expected["scores"], expected["classes"], masks),
    )


def write_weights(case: Case, path: Path) -> Path:
    """Writes the case's weights as detectron2 publishes its own: a .pkl of named arrays."""
    content = {"model": synthetic_state(case.shapes, case.seed), "__author__": "synthetic"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path
