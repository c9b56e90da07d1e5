"""The reference's answers: seven networks with synthetic weights, and what detectron2's TensorMask found with them."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from parity.synthetic_weights import synthetic_state

FOLDER = Path(__file__).parent / "cases"
CASES = tuple(sorted(path.name for path in FOLDER.iterdir()))


@dataclass(frozen=True)
class Case:
    """One network, one picture, and the reference's detections on it, best score first."""

    config: Path
    shapes: dict[str, tuple[int, ...]]  # of the weights, by their names
    seed: int  # of the weights
    picture: np.ndarray  # uint8 (H, W, 3), RGB
    boxes: np.ndarray  # float32 (N, 4), x0 y0 x1 y1 in the picture's pixels
    scores: np.ndarray  # float32 (N,)
    classes: np.ndarray  # int64 (N,)
    masks: np.ndarray | None  # bool (N, H, W)


def load_case(name: str) -> Case:
    folder = FOLDER / name
    expected = np.load(folder / "expected.npz")
    picture = expected["image"]
    masks = None
    if "masks_packed" in expected:
        masks = np.unpackbits(expected["masks_packed"], axis=2, count=picture.shape[1]).astype(bool)
    return Case(
        config=folder / "config.yaml",
        shapes={entry: tuple(shape) for entry, shape in json.loads((folder / "shapes.json").read_text()).items()},
        seed=int(expected["seed"]),
        picture=picture,
        boxes=expected["boxes"],
        scores=expected["scores"],
        classes=expected["classes"],
        masks=masks,
    )


def write_weights(case: Case, path: Path) -> Path:
    """Writes the case's weights as detectron2 publishes its own: a .pkl of named arrays."""
    content = {"model": synthetic_state(case.shapes, case.seed), "__author__": "synthetic"}
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def pair_detections(
    boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, expected: Case
) -> list[tuple[int, int]]:
    """Pairs detections with the expected ones, each at most once.

    Args:
        boxes, scores, classes: (N, 4), (N,) and (N,), as in `Case`.

    Returns:
        Indices of the detection and of the expected one: the same class, every side of the box within 0.05 pixels, the
        score within 1e-4.
    """
    same_class = classes[:, None] == expected.classes
    same_box = (np.abs(boxes[:, None] - expected.boxes) <= 0.05).all(axis=2)
    same_score = np.abs(scores[:, None] - expected.scores) <= 1e-4
    alike = same_class & same_box & same_score  # (N, those expected)
    pairs: list[tuple[int, int]] = []
    for i, row in enumerate(alike):
        candidates = np.flatnonzero(row)
        if len(candidates):
            pairs.append((i, int(candidates[0])))
            alike[:, candidates[0]] = False
    return pairs


def mask_iou(one: np.ndarray, other: np.ndarray) -> float:
    """Of two bool masks of one shape; 1 for two empty ones."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 1.0
