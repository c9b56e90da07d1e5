"""What a server found on an image, read from its answer in COCO's format, with numpy alone."""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_MASK_PIXELS = 1_677_721_600  # of all masks of an answer: the server's own --max-mask-pixels
MAX_VALUES = 1_000_000  # of an answer's JSON: 1000 instances have 20,000; each takes up to 200 bytes of memory
MAX_COUNTS = 1 << 24  # characters of a mask's run lengths: each pixel of 16 million a run of its own
MAX_GROUPS = 7  # of 5 bits, of a run length: a mask of up to 2³⁴ pixels
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
TIMING = re.compile(r"\s*([^;=,\s]{1,100});dur=(\d{1,15}(?:\.\d{1,15})?)\s*", re.ASCII)


class AnswerTooLarge(ValueError):
    """An answer in COCO's format takes more memory than is allowed; in one line."""


@dataclass(frozen=True)
class Instances:
    """What a server found on one image, best score first; N things, on an image of H×W pixels."""

    boxes: np.ndarray  # float32 (N, 4), x0 y0 x1 y1 in the image's pixels, to a hundredth of one
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


def read_instances(body: bytes, server_timing: str, max_mask_pixels: int = MAX_MASK_PIXELS) -> Instances:
    """
    Args:
        body: an answer in the format coco.
        server_timing: its header of this name; "" where it has none.
        max_mask_pixels: of all masks together.

    Raises:
        AnswerTooLarge: the masks have more pixels, or the JSON more values. No memory has been taken for them.
        ValueError: it isn't such an answer.
        MemoryError: there isn't enough for it.
    """
    _check_values(body)
    try:
        content = json.loads(body, parse_constant=_no_constant)
        found, height, width = _of_type(content["instances"], list), _size(content["height"]), _size(content["width"])
        boxes = np.array([_numbers(each["bbox"], 4) for each in found], np.float32).reshape(len(found), 4)
        boxes[:, 2:] += boxes[:, :2]
        return Instances(
            boxes=boxes,
            scores=np.array([_numbers([each["score"]], 1)[0] for each in found], np.float32),
            category_ids=np.array([_of_type(each["category_id"], int) for each in found], np.int64),
            names=tuple(_of_type(each["category_name"], str) for each in found),
            masks=_masks(found, height, width, max_mask_pixels),
            width=width,
            height=height,
            model=_of_type(content["model"], str),
            weights_sha256=_of_type(content["weights_sha256"], str),
            timing=_timing(server_timing),
        )
    except AnswerTooLarge:
        raise
    except RecursionError as error:
        raise ValueError("not an answer in COCO's format: its JSON is nested too deeply") from error
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"not an answer in COCO's format: {error!r}") from error


def decode_mask(counts: str, height: int, width: int) -> np.ndarray:
    """COCO's compressed run lengths to a mask, as pycocotools decodes them.

    The lengths of the runs of off and on pixels in turn, column by column. Each is a number of groups of 5 bits, the
    lowest first, a character a group: 48 + the bits, + 32 where another follows. The highest bit is the sign, as in
    two's complement, because from the fourth length on what is written is the difference to the second last one.

    Returns:
        bool (height, width).

    Raises:
        AnswerTooLarge: the mask has more than MAX_MASK_PIXELS, or more than MAX_COUNTS characters.
        ValueError: they aren't those of a mask of this size.
    """
    pixels = int(height) * int(width)
    if pixels > MAX_MASK_PIXELS or len(counts) > MAX_COUNTS:
        raise AnswerTooLarge(
            f"a mask of {height}×{width} pixels in {len(counts)} characters; expected at most {MAX_MASK_PIXELS} pixels "
            f"in {MAX_COUNTS} characters"
        )
    text = np.frombuffer(counts.encode("ascii"), np.uint8)
    if len(text) == 0 or text.min() < 48 or text.max() > 48 + 63 or text[-1] >= 48 + 32 or min(height, width) < 0:
        raise ValueError(f"{counts[:20]!r} are no run lengths of COCO's")
    codes = text.astype(np.int64) - 48
    last = np.flatnonzero(codes < 32)
    first = np.append(0, last[:-1] + 1)
    if (last - first).max() >= MAX_GROUPS:
        raise ValueError(f"a run length of more than {MAX_GROUPS} characters")
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, last - first + 1))
    runs = np.add.reduceat((codes & 31) << shifts, first)
    runs -= ((codes[last] & 16) << 1) << shifts[last]
    for start in (1, 2):  # within 64 bits: 2²⁴ runs of 2³⁴ pixels are 2⁵⁸
        runs[start::2] = np.cumsum(runs[start::2])
    if runs.min() < 0 or runs.max() > pixels or runs.sum() != pixels:  # the maximum first, so that no sum overflows
        raise ValueError(f"run lengths of other than the {pixels} pixels of a mask of {height}×{width}")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


def _masks(found: list[dict[str, Any]], height: int, width: int, max_mask_pixels: int) -> np.ndarray | None:
    if any("segmentation" not in each for each in found):
        return None
    if len(found) * height * width > max_mask_pixels:
        raise AnswerTooLarge(
            f"{len(found)} masks of {height}×{width} pixels; expected at most {max_mask_pixels} pixels together"
        )
    for each in found:
        if each["segmentation"]["size"] != [height, width]:
            raise ValueError(f"a mask of {each['segmentation']['size']} on an image of {height}×{width}")
        _of_type(each["segmentation"]["counts"], str)
    masks = np.empty((len(found), height, width), bool)
    for mask, each in zip(masks, found, strict=True):
        mask[:] = decode_mask(each["segmentation"]["counts"], height, width)
    return masks


def _check_values(body: bytes) -> None:
    """JSON takes up to 60 times its size in memory: counted before it is read."""
    values = body.count(b'"') // 2  # first, since many strings would take long to cut out
    if values <= MAX_VALUES:
        outside = STRING.sub(b"", body)
        values = sum(outside.count(mark) for mark in (b",", b"[", b"{"))
    if values > MAX_VALUES:
        raise AnswerTooLarge(f"JSON of about {values} values; expected at most {MAX_VALUES}")


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} instead of a number")


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} instead of {kind.__name__}")
    return value


def _size(value: Any) -> int:
    if _of_type(value, int) < 1:
        raise ValueError(f"an image with a side of {value} pixels")
    return int(value)


def _numbers(values: Any, count: int) -> list[float]:
    """Finite ones, also in float32: JSON's 1e400 is read as infinity."""
    if not isinstance(values, list) or len(values) != count:
        raise TypeError(f"{type(values).__name__} instead of {count} numbers")
    if not all(type(each) in (int, float) and math.isfinite(each) and abs(each) < 1e38 for each in values):
        raise ValueError(f"something else than {count} finite numbers")
    return values


def _timing(header: str) -> dict[str, float]:
    """Of what reads name;dur=number, of ours; a proxy's own are left out."""
    parts = filter(None, map(TIMING.fullmatch, header.split(",")))
    return {part[1]: float(part[2]) for part in parts}
