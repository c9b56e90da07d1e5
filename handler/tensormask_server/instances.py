"""What a server found on a picture, read from its answer in COCO's format, with numpy alone."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Instances:
    """What a server found on one picture, best score first; N things, on a picture of H×W pixels."""

    boxes: np.ndarray  # float32 (N, 4), x0 y0 x1 y1 in the picture's pixels, to a hundredth of one
    scores: np.ndarray  # float32 (N,), falling, to six decimals
    category_ids: np.ndarray  # int64 (N,), COCO's own where the classes are COCO's
    names: tuple[str, ...]  # N, of the classes
    masks: np.ndarray | None  # bool (N, H, W); None where the network finds boxes alone
    width: int
    height: int
    model: str
    weights_sha256: str
    timing: dict[str, float]  # milliseconds that the server took, by part: "decode", "resize", "network", …

    def __len__(self) -> int:
        return len(self.scores)


def read_instances(body: bytes, server_timing: str) -> Instances:
    """
    Args:
        body: an answer in the format coco.
        server_timing: its header of this name; "" where it has none.

    Raises:
        ValueError: it isn't such an answer.
    """
    try:
        content = json.loads(body)
        found, height, width = content["instances"], content["height"], content["width"]
        boxes = np.array([each["bbox"] for each in found], np.float32).reshape(len(found), 4)
        boxes[:, 2:] += boxes[:, :2]
        return Instances(
            boxes=boxes,
            scores=np.array([each["score"] for each in found], np.float32),
            category_ids=np.array([each["category_id"] for each in found], np.int64),
            names=tuple(each["category_name"] for each in found),
            masks=_masks(found, height, width),
            width=width,
            height=height,
            model=content["model"],
            weights_sha256=content["weights_sha256"],
            timing=_timing(server_timing),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not an answer in COCO's format: {error!r}") from error


def decode_mask(counts: str, height: int, width: int) -> np.ndarray:
    """COCO's compressed run lengths to a mask, as pycocotools decodes them.

    The lengths of the runs of off and on pixels in turn, column by column. Each is a number of groups of 5 bits, the
    lowest first, a character a group: 48 + the bits, + 32 where another follows. The highest bit is the sign, as in
    two's complement, because from the fourth length on what is written is the difference to the second last one.

    Returns:
        bool (height, width).

    Raises:
        ValueError: they aren't those of a mask of this size.
    """
    codes = np.frombuffer(counts.encode("ascii"), np.uint8).astype(np.int64) - 48
    if len(codes) == 0 or codes.min() < 0 or codes.max() > 63 or codes[-1] >= 32:
        raise ValueError(f"{counts[:20]!r} are no run lengths of COCO's")
    last = np.flatnonzero(codes < 32)
    first = np.append(0, last[:-1] + 1)
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    runs = np.add.reduceat((codes & 31) << shifts, first)
    runs -= ((codes[last] & 16) << 1) << shifts[last]
    for start in (1, 2):
        runs[start::2] = np.cumsum(runs[start::2])
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"run lengths of {runs.sum()} pixels for a mask of {height}×{width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _masks(found: list[dict[str, Any]], height: int, width: int) -> np.ndarray | None:
    if any("segmentation" not in each for each in found):
        return None
    masks = np.empty((len(found), height, width), bool)
    for mask, each in zip(masks, found, strict=True):
        if each["segmentation"]["size"] != [height, width]:
            raise ValueError(f"a mask of {each['segmentation']['size']} on a picture of {height}×{width}")
        mask[:] = decode_mask(each["segmentation"]["counts"], height, width)
    return masks


def _timing(header: str) -> dict[str, float]:
    parts = (part.strip().partition(";dur=") for part in header.split(",") if part.strip())
    return {name: float(milliseconds) for name, _, milliseconds in parts}
